"""`RBMVAE`: a discrete variational autoencoder with an RBM over its bits, as a scikit-learn transformer and density."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from deepbelief.belief.rbm_vae import RBMVAE as Model
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.belief.rbm_vae_learning import RBMVAELearning
from deepbelief.errors import check, check_count
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_weight, without_weightless
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.learning import (
    binarizer_of,
    check_basics,
    folder_to_keep,
    layer_sizes,
    parameter_type,
    source_of,
    trainer_options,
)
from deepbelief.estimators.pictures import picture_shape, with_channels
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import OnColumns, Scored, SparseIn
from deepbelief.estimators.storage import Savable
from deepbelief.networks.pixel_cnn import PixelCNN
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound

Array = NDArray[Any]


class RBMVAE(Scored, OnColumns, SparseIn, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder whose codes are bits under an RBM (Rolfe 2017): codes, samples, completions, a bound.

    Parameters
    ----------
    n_bits : sequence of int
        Bits in each group, lowest first: two have an RBM as their prior, more a deep belief network with its RBM over
        the last two. With 20 or fewer in one of those its log Z is exact, else bracketed by annealing.
    n_codes : int
        Gaussian numbers below the bits, for what varies within a kind of cases; 0 for none.
    hidden_layer_sizes : int or sequence of int
        Deterministic units between data and bits, both ways.
    network, activation
        "dense" or "residual", as for `deepbelief.VAE`; "auto", "tanh", "relu", "silu" or "sigmoid".
    pixel_maps : int
        Maps of a `deepbelief.networks.pixel_cnn.PixelCNN`, by which a pixel of a binary picture hangs on those before
        it as well as on the bits: 1 adds what they say, further ones (4 or 8) let the bits choose what they mean, 0 is
        for pixels that are independent given the bits.
    image_shape : None or (height, width)
        The picture that a row of X is, for `pixel_maps`; None takes it from pictures, or from flat rows that are
        square, else a row is a series.
    k, gradient, temperature, warmup, negative, n_chains, n_steps
        See `deepbelief.belief.rbm_vae_learning.RBMVAELearning`.
    optimizer, learning_rate, schedule, weight_decay, max_gradient_norm
        See `deepbelief.training.optimization.Descent`.
    n_importance_samples : int
        Draws per case for scores.
    visible, n_values, epochs, batch_size, averaging, binarization, device, precision, checkpoint_dir, verbose, \
random_state
        As for `deepbelief.VAE`.

    Attributes
    ----------
    module_ : deepbelief.belief.rbm_vae.RBMVAE
    history_ : list of dict
        One row per epoch: `bound_without_log_z` in nats per case, `loss`.
    log_z_ : Bound
        log Z of the RBM.
    visible_, mean_, scale_, image_shape_ : as for the other estimators

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import RBMVAE
    >>> X = np.random.default_rng(0).integers(0, 2, (50, 8))
    >>> model = RBMVAE((4, 3), hidden_layer_sizes=(16,), epochs=2, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sample(3).shape, model.log_likelihood(X[:2]).kind
    ((50, 7), (3, 8), 'lower_bound')
    """

    _stored = ("visible_", "mean_", "scale_", "history_", "image_shape_", "_seed", "_log_z")

    def __init__(
        self,
        n_bits: Sequence[int] = (64, 64),
        *,
        n_codes: int = 0,
        hidden_layer_sizes: int | Sequence[int] = (200, 200),
        network: str = "dense",
        activation: str = "auto",
        pixel_maps: int = 0,
        image_shape: Sequence[int] | None = None,
        k: int = 5,
        gradient: str = "relaxed",
        temperature: float = 0.5,
        warmup: float = 0.0,
        negative: str = "pcd",
        n_chains: int = 100,
        n_steps: int = 10,
        visible: str = "auto",
        n_values: int | None = None,
        epochs: int = 50,
        batch_size: int = 100,
        optimizer: str = "adam",
        learning_rate: float = 3e-3,
        schedule: str = "cosine",
        weight_decay: float = 0.0,
        max_gradient_norm: float | None = None,
        averaging: float | None = None,
        binarization: str = "none",
        n_importance_samples: int = 500,
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_bits, self.n_codes = n_bits, n_codes
        self.hidden_layer_sizes, self.network, self.activation = hidden_layer_sizes, network, activation
        self.pixel_maps, self.image_shape = pixel_maps, image_shape
        self.k, self.gradient, self.temperature, self.warmup = k, gradient, temperature, warmup
        self.negative, self.n_chains, self.n_steps = negative, n_chains, n_steps
        self.visible, self.n_values = visible, n_values
        self.epochs, self.batch_size, self.optimizer = epochs, batch_size, optimizer
        self.learning_rate, self.schedule, self.weight_decay = learning_rate, schedule, weight_decay
        self.max_gradient_norm, self.averaging, self.binarization = max_gradient_norm, averaging, binarization
        self.n_importance_samples, self.device, self.precision = n_importance_samples, device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X, (n_samples, n_features), images or sparse; `y` is not used."""
        check_basics(self)
        check_count("n_importance_samples", self.n_importance_samples, low=1)
        check_count("pixel_maps", self.pixel_maps, low=0)
        given = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
        X = checked(self, X, reset=True)
        self.image_shape_ = self._shape_for_pixels(given, X.shape[1])
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        module = self._new_module(X, columns, seed)
        procedure = self._procedure(module)
        source = source_of(self, columns, X, weight=weight, seed=seed, binarizer=binarizer_of(self, seed))
        rows, order = face.starting_rows(columns, X, seed, parameter_type(self))
        module.match_data(rows, None if weight is None else torch.as_tensor(weight[order]))
        options = {"seed": seed, "averaging": self.averaging, **trainer_options(self, module)}
        trainer = Trainer(epochs=self.epochs, checkpoint_dir=folder, **options)
        trainer.fit(procedure, source, resume_from=None if resume_from is None else folder)
        self.module_, self.history_ = module.eval(), list(trainer.record.history)
        self._seed, self._log_z = seed, None
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        return self

    def _new_module(self, x: Any, columns: Columns, seed: int) -> Model:
        bits = layer_sizes(self.n_bits, "n_bits")
        generator = make_generator(seed)
        shape = self.image_shape_
        check(
            shape is None or columns.kind == "bernoulli",
            f"pixel_maps must be 0 for data that are not in [0, 1]. Got pixel_maps={self.pixel_maps}.",
        )
        pixels = None if shape is None else PixelCNN(shape, maps=self.pixel_maps, generator=generator)
        built = make_rbm_vae(
            columns.units(x, self.n_values),
            bits,
            hidden=layer_sizes(self.hidden_layer_sizes),
            n_codes=self.n_codes,
            network=self.network,
            activation=self.activation,
            pixels=pixels,
            generator=generator,
        )
        return built.to(parameter_type(self))

    def _shape_for_pixels(self, given: tuple[int, ...] | None, n_features: int) -> tuple[int, ...] | None:
        """Height and width of the pictures whose pixels hang on one another; None where they do not."""
        if not self.pixel_maps:
            return None
        check(self.n_codes == 0, f"pixel_maps must be 0 with Gaussian codes below. Got n_codes={self.n_codes}. Use 0.")
        channels, *shape = with_channels(picture_shape(self.image_shape, given, n_features))
        check(channels == 1, f"pixel_maps must be 0 for pictures of several channels. Got {channels}. Take one.")
        return tuple(shape)

    def _procedure(self, module: Model) -> RBMVAELearning:
        objective = ("k", "gradient", "temperature", "warmup", "negative", "n_chains", "n_steps")
        descent = ("optimizer", "learning_rate", "schedule", "weight_decay", "max_gradient_norm")
        return RBMVAELearning(module, **{name: getattr(self, name) for name in (*objective, *descent)})

    @property
    def _n_features_out(self) -> int:
        return int(self.module_.n_bits)

    # -- use --------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:
        """How likely each bit is on, the lowest group's first: (n_samples, bits of all groups)."""
        columns = self._columns
        return face.encode(self.module_, columns, checked(self, X))

    def inverse_transform(self, X: Any) -> Array:
        """The means of the data given bits or their probabilities."""
        columns = self._columns
        return face.decode(self.module_, columns, face.checked_codes(X, self._n_features_out))

    def sample(self, n_samples: int = 1, *, random_state: Any = None, n_steps: int = 1000, mean: bool = False) -> Array:
        """New cases: bits from chains of `n_steps` sweeps of the RBM, and the data given them (their means, `mean`)."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        return face.sample(self.module_, columns, n_samples, state, n_steps=n_steps, mean=mean)

    def complete(
        self, X: Any, known: Any = None, *, random_state: Any = None, n_steps: int = 200, n_average: int | None = None
    ) -> Array:
        """X with its missing entries (NaN, or where `known` is False) filled by pseudo-Gibbs sampling, with means."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average}
        return face.complete(self, self.module_, columns, X, known, state, **steps)

    @property
    def log_z_(self) -> Bound:
        """log Z of the RBM in nats with its kind."""
        check_is_fitted(self, "module_")
        return face.log_z_of(self, self.module_.rbm)

    def log_likelihood(self, X: Any) -> Bound:
        """The importance-weighted lower bound of each case's log-likelihood in nats, with hard bits."""
        columns = self._columns
        options = {"n_samples": self.n_importance_samples, "log_z": self.log_z_}
        return face.likelihood_row_by_row(self, self.module_, columns, X, **options)
