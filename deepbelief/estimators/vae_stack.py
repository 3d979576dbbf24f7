"""`VAEStack`: a deep belief network whose top is a variational autoencoder, as transformer and density."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief.vae_stack import VAEStack as Model
from deepbelief.belief.vae_stack import train_vae_stack
from deepbelief.errors import check_count
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_weight, without_weightless
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.learning import (
    binarizer_of,
    check_basics,
    folder_to_keep,
    history_of,
    layer_sizes,
    new_dbn,
    parameter_type,
    settings_of_layers,
    source_of,
    trainer_options,
)
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import OnColumns, Scored, SparseIn
from deepbelief.estimators.storage import Savable
from deepbelief.rng import make_generator
from deepbelief.types import Bound
from deepbelief.units.catalog import make_units

Array = NDArray[Any]
TOP_STREAM = 112


class VAEStack(Scored, OnColumns, SparseIn, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """RBMs learned layer by layer, and a VAE on the last hidden units in the place of the last RBM.

    Parameters
    ----------
    n_components : int
        Codes of the VAE on top: what `transform` gives.
    hidden_layer_sizes : int or sequence of int
        Hidden units of the RBMs, from the bottom.
    epochs, learning_rate
        Of the RBMs: one number for all layers, or one for each.
    hidden, learning, k, n_chains, schedule, momentum, l1, l2, centred, sparsity_target, averaging
        Of the RBMs, as for `deepbelief.DeepBeliefNetwork`.
    top_hidden_layer_sizes : int or sequence of int
        Deterministic units between the RBMs' last hidden units and the codes, and back.
    top_epochs, top_learning_rate, top_k, top_averaging
        Of the VAE, as `epochs`, `learning_rate`, `k` and `averaging` of `deepbelief.VAE`.
    n_importance_samples : int
        Draws per case for scores.
    visible, n_values, batch_size, binarization, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.DeepBeliefNetwork`.

    Attributes
    ----------
    module_ : deepbelief.belief.vae_stack.VAEStack
    history_ : list of dict
        One row per epoch of each layer; the VAE is the last.
    visible_, mean_, scale_ : as for the other estimators

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import VAEStack
    >>> X = np.random.default_rng(0).integers(0, 2, (50, 8))
    >>> stack = VAEStack(2, hidden_layer_sizes=(6,), epochs=2, top_epochs=2, random_state=0).fit(X)
    >>> stack.transform(X).shape, stack.sample(3).shape, stack.log_likelihood(X[:2]).kind
    ((50, 2), (3, 8), 'lower_bound')
    """

    _stored = ("visible_", "mean_", "scale_", "history_", "_seed")

    def __init__(
        self,
        n_components: int = 20,
        *,
        hidden_layer_sizes: int | Sequence[int] = (500,),
        visible: str = "auto",
        hidden: str = "bernoulli",
        n_values: int | None = None,
        learning: str = "pcd",
        k: int = 1,
        n_chains: int = 100,
        epochs: int | Sequence[int] = 10,
        batch_size: int = 100,
        learning_rate: float | Sequence[float] = 0.05,
        schedule: str = "linear",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centred: bool = True,
        sparsity_target: float | None = None,
        averaging: float | None = None,
        top_hidden_layer_sizes: int | Sequence[int] = (200,),
        top_epochs: int = 50,
        top_learning_rate: float = 1e-3,
        top_k: int = 1,
        top_averaging: float | None = None,
        binarization: str = "none",
        n_importance_samples: int = 500,
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.hidden_layer_sizes = n_components, hidden_layer_sizes
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.n_chains = learning, k, n_chains
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.momentum = learning_rate, schedule, momentum
        self.l1, self.l2, self.centred = l1, l2, centred
        self.sparsity_target, self.averaging = sparsity_target, averaging
        self.top_hidden_layer_sizes, self.top_epochs = top_hidden_layer_sizes, top_epochs
        self.top_learning_rate, self.top_k, self.top_averaging = top_learning_rate, top_k, top_averaging
        self.binarization, self.n_importance_samples = binarization, n_importance_samples
        self.device, self.precision, self.checkpoint_dir = device, precision, checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X, (n_samples, n_features), images or sparse; `y` is not used."""
        check_basics(self)
        for name in ("n_importance_samples", "n_components", "top_k"):
            check_count(name, getattr(self, name), low=1)
        check_count("top_epochs", self.top_epochs, low=0)
        X = checked(self, X, reset=True)
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        module = self._new_module(X, columns, seed)
        source = source_of(self, columns, X, weight=weight, seed=seed, binarizer=binarizer_of(self, seed))
        reports, top = train_vae_stack(
            module,
            source,
            settings_of_layers(self, self.epochs, len(module.below.layers)),
            top_epochs=self.top_epochs,
            top={"k": self.top_k, "learning_rate": self.top_learning_rate},
            trainer_options=trainer_options(self, module),
            averaging=self.top_averaging,
            seed=seed,
            checkpoint_dir=folder,
            resume=resume_from is not None,
        )
        self.module_, self._seed = module.eval(), seed
        self.history_ = history_of(reports) + [{"layer": len(reports) + 1, **row} for row in top.history]
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        return self

    def _new_module(self, x: Any, columns: Columns, seed: int) -> Model:
        below = new_dbn(self, x, columns, seed=seed)
        last = layer_sizes(self.hidden_layer_sizes)[-1]
        top = dense_vae(
            make_units(self.hidden, last, n_values=self.n_values, name="hidden"),
            [self.n_components],
            hidden=[layer_sizes(self.top_hidden_layer_sizes)],
            generator=make_generator(seed, stream=TOP_STREAM),
        )
        return Model(below, top.to(parameter_type(self)))

    @property
    def _n_features_out(self) -> int:
        return int(self.module_.top.sizes[-1])

    # -- use --------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:
        """The means of the codes, each layer at the mean of the one below: (n_samples, n_components)."""
        columns = self._columns
        return face.encode(self.module_, columns, checked(self, X))

    def inverse_transform(self, X: Any) -> Array:
        """The means of the data given codes, each layer at its mean."""
        columns = self._columns
        return face.decode(self.module_, columns, face.checked_codes(X, self._n_features_out))

    def sample(self, n_samples: int = 1, *, random_state: Any = None, mean: bool = False) -> Array:
        """New cases, drawn from the top down; with `mean`, their means given the lowest hidden units."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        return face.sample(self.module_, columns, n_samples, state, mean=mean)

    def complete(
        self,
        X: Any,
        known: Any = None,
        *,
        random_state: Any = None,
        n_steps: int = 200,
        n_average: int | None = None,
        exact: bool = False,
    ) -> Array:
        """X with its missing entries (NaN, or where `known` is False) filled with their mean given the rest.

        By pseudo-Gibbs sampling, or with `exact` by a chain that has the stack's own law and mixes more slowly.
        """
        columns, state = self._columns, self.random_state if random_state is None else random_state
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average, "exact": exact}
        return face.complete(self, self.module_, columns, X, known, state, **steps)

    def log_likelihood(self, X: Any) -> Bound:
        """The importance-weighted lower bound of each case's log-likelihood in nats."""
        columns = self._columns
        return face.likelihood_row_by_row(self, self.module_, columns, X, n_samples=self.n_importance_samples)
