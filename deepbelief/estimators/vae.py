"""`VAE`: variational autoencoders as scikit-learn transformers, plain and conditional."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor

from deepbelief.autoencoders.annealed import annealed_log_likelihood
from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.vae import VAE as Model
from deepbelief.autoencoders.vae_builders import convolutional_vae, dense_vae
from deepbelief.errors import check, check_choice, check_count
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import (
    checked,
    checked_weight,
    device_of,
    in_type,
    through,
    without_weightless,
)
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.conditions import Conditions
from deepbelief.estimators.learning import (
    binarizer_of,
    check_basics,
    folder_to_keep,
    layer_sizes,
    parameter_type,
    source_of,
    trainer_options,
)
from deepbelief.estimators.pictures import picture_shape
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import OnColumns
from deepbelief.estimators.storage import Savable
from deepbelief.networks.parts import FEED_FORWARD
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound

Array = NDArray[Any]
SCORE_STREAM = 105


class VAE(OnColumns, Conditions, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder: codes, samples, completions and a lower bound of the likelihood.

    Parameters
    ----------
    n_components : int or sequence of int
        Code numbers; several for several stochastic layers, from the bottom, as (100, 50). `transform` gives the top.
    hidden_layer_sizes : sequence of int, or one such sequence for each layer of codes
        Deterministic units between what lies below and the codes, and back.
    network : "dense", "residual" or "convolutional"
        Layers of a residual network add to what they got where they are as wide, under layer normalization.
        Convolutional networks take `image_shape` and `channels` (one block each, which halves height and width).
    image_shape : None, (height, width) or (channels, height, width)
        The shape of a row of X; None takes it from pictures, or from flat rows that are square.
    activation : str
        "auto" is "tanh" for dense and "silu" for other networks; "relu", "sigmoid" (not convolutional), "leaky_relu"
        (convolutional).
    prior : "normal", "mixture", "vamp" or "conditional"
        The law of the top codes; a learned mixture has `n_prior_components` Gaussians, the VampPrior as many
        pseudo-inputs; the last is a Gaussian that a network makes of the condition.
    conditional : bool
        Whether y, given to `fit`, is the condition: labels of any type, or rows of numbers. Every use then takes it.
    k : int
        Draws per case: 1 is the ELBO, more the importance-weighted bound.
    beta, warmup, free_bits, gradient
        See `deepbelief.autoencoders.elbo.ELBO`.
    visible : "auto", "bernoulli", "gaussian", "categorical" or another kind of units
        "auto" is Bernoulli for data in [0, 1], else Gaussian of standardized columns with a learned scale.
    n_values : int
        Values of each categorical variable.
    optimizer, learning_rate, schedule, weight_decay, max_gradient_norm
        See `deepbelief.training.optimization.Descent`.
    n_importance_samples : int
        Draws per case for scores.
    epochs, batch_size, averaging, binarization, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`.

    Attributes
    ----------
    module_ : deepbelief.autoencoders.vae.VAE
    history_ : list of dict
        One row per epoch: `bound` (nats per case, a lower bound), `kl` (the codes' part of it), `loss`.
    classes_ : array
        The labels of a conditional model.
    visible_, mean_, scale_, image_shape_ : as for the other estimators

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import VAE
    >>> X = np.random.default_rng(0).integers(0, 2, (50, 8))
    >>> vae = VAE(2, hidden_layer_sizes=(16,), epochs=2, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.sample(3).shape, vae.log_likelihood(X).kind
    ((50, 2), (3, 8), 'lower_bound')
    """

    _stored = ("visible_", "mean_", "scale_", "history_", "image_shape_", "classes_", "_n_condition", "_seed")

    def __init__(
        self,
        n_components: int | Sequence[int] = 20,
        *,
        hidden_layer_sizes: Sequence[Any] = (200, 200),
        network: str = "dense",
        image_shape: Sequence[int] | None = None,
        channels: Sequence[int] = (32, 64),
        activation: str = "auto",
        prior: str = "normal",
        n_prior_components: int = 100,
        conditional: bool = False,
        k: int = 1,
        beta: float = 1.0,
        warmup: float = 0.0,
        free_bits: float = 0.0,
        gradient: str = "reparameterized",
        visible: str = "auto",
        n_values: int | None = None,
        epochs: int = 50,
        batch_size: int = 100,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
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
        self.n_components, self.hidden_layer_sizes = n_components, hidden_layer_sizes
        self.network, self.image_shape, self.channels, self.activation = network, image_shape, channels, activation
        self.prior, self.n_prior_components, self.conditional = prior, n_prior_components, conditional
        self.k, self.beta, self.warmup, self.free_bits, self.gradient = k, beta, warmup, free_bits, gradient
        self.visible, self.n_values = visible, n_values
        self.epochs, self.batch_size, self.optimizer = epochs, batch_size, optimizer
        self.learning_rate, self.schedule, self.weight_decay = learning_rate, schedule, weight_decay
        self.max_gradient_norm, self.averaging, self.binarization = max_gradient_norm, averaging, binarization
        self.n_importance_samples, self.device, self.precision = n_importance_samples, device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X, (n_samples, n_features) or pictures; `y` is the condition where the model is conditional."""
        check_basics(self)
        check_choice("network", self.network, [*FEED_FORWARD, "convolutional"])
        check_count("n_importance_samples", self.n_importance_samples, low=1)
        given = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
        X = checked(self, X, reset=True)
        condition = self._learn_condition(y, X.shape[0])
        parts = [X] if condition is None else [X, condition]
        weight, X, *more = without_weightless(checked_weight(sample_weight, X.shape[0]), *parts)
        condition = more[0] if more else None
        shape = picture_shape(self.image_shape, given, X.shape[1]) if self.network == "convolutional" else None
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        source = source_of(self, columns, X, condition, weight, seed=seed, binarizer=binarizer_of(self, seed))
        self.image_shape_ = shape
        module = self._new_module(X, columns, shape, seed)
        _start(module, columns, X, condition, weight, seed)
        trainer = Trainer(
            epochs=self.epochs,
            seed=seed,
            averaging=self.averaging,
            checkpoint_dir=folder,
            **trainer_options(self, module),
        )
        trainer.fit(self._procedure(module), source, resume_from=None if resume_from is None else folder)
        self.module_, self.history_, self._seed = module.eval(), list(trainer.record.history), seed
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        return self

    def _procedure(self, module: Model) -> ELBO:
        objective = ("k", "beta", "warmup", "free_bits", "gradient")
        descent = ("optimizer", "learning_rate", "schedule", "weight_decay", "max_gradient_norm")
        return ELBO(module, **{name: getattr(self, name) for name in (*objective, *descent)})

    def _new_module(self, x: Any, columns: Columns, shape: tuple[int, ...] | None, seed: int) -> Model:
        sizes = _code_sizes(self.n_components)
        visible = columns.units(x, self.n_values)
        shared: dict[str, Any] = {
            **{"activation": self.activation, "prior": self.prior, "n_components": self.n_prior_components},
            **{"n_condition": self._n_condition, "generator": make_generator(seed)},
        }
        if shape is None:
            hidden = self._hidden(len(sizes))
            return dense_vae(visible, sizes, hidden=hidden, network=self.network, **shared).to(parameter_type(self))
        check(len(sizes) == 1, f"n_components must be one number for convolutional networks. Got {len(sizes)}.")
        shape = shape if len(shape) == 3 else (1, *shape)
        built = convolutional_vae(visible, sizes[0], shape, channels=layer_sizes(self.channels, "channels"), **shared)
        return built.to(parameter_type(self))

    def _hidden(self, n_layers: int) -> list[list[int]]:
        """The units between each layer of codes and what lies below it: one list for all layers, or one for each."""
        given = self.hidden_layer_sizes
        if np.ndim(given) == 0 or all(np.ndim(part) == 0 for part in given):
            return [layer_sizes(given)] * n_layers
        return [layer_sizes(part) for part in given]

    @property
    def _n_features_out(self) -> int:
        return int(self.module_.sizes[-1])

    # -- use --------------------------------------------------------------------------------------------------------

    def transform(self, X: Any, y: Any = None) -> Array:
        """The means of the top codes, without noise: (n_samples, n_components)."""
        columns, X = self._columns, checked(self, X)
        c = self._condition_of(y, X.shape[0])
        if c is None:
            return face.encode(self.module_, columns, X)
        joined = np.hstack([columns.inward(X.toarray() if hasattr(X, "toarray") else X), c.astype(X.dtype)])
        width = X.shape[1]
        return through(self.module_, lambda m, r: m.encode(r[:, :width], condition=r[:, width:]), joined, lambda r: r)

    def inverse_transform(self, X: Any, y: Any = None) -> Array:
        """The means of the data given codes: (n_samples, n_components) to (n_samples, n_features)."""
        columns, width = self._columns, self._n_features_out
        z = face.checked_codes(X, width)
        c = self._condition_of(y, len(z))
        if c is None:
            return face.decode(self.module_, columns, z)
        joined = np.hstack([z, c.astype(z.dtype)])
        data = through(self.module_, lambda m, r: m.decode(r[:, :width], condition=r[:, width:]), joined, lambda r: r)
        return columns.outward(data)

    def sample(self, n_samples: int = 1, *, label: Any = None, random_state: Any = None, mean: bool = False) -> Array:
        """New cases: (n_samples, n_features). A conditional model takes one `label` (or vector), or one for each."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        check(label is None or self._n_condition > 0, f"label must be None for a model without. Got label={label!r}.")
        c = self._condition_of(label, n_samples)
        more = {} if c is None else {"condition": self._tensor(c)}
        return face.sample(self.module_, columns, n_samples, state, mean=mean, **more)

    def complete(
        self,
        X: Any,
        known: Any = None,
        *,
        y: Any = None,
        random_state: Any = None,
        n_steps: int = 200,
        n_average: int | None = None,
    ) -> Array:
        """X with its missing entries (NaN, or where `known` is False) filled with their mean given the rest."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average}
        c = self._condition_of(y, X.shape[0] if hasattr(X, "shape") else len(X))
        if c is not None:
            steps["condition"] = self._tensor(c)
        return face.complete(self, self.module_, columns, X, known, state, **steps)

    @torch.no_grad()
    def log_likelihood(self, X: Any, y: Any = None) -> Bound:
        """The importance-weighted lower bound of each case's log-likelihood in nats, given y if conditional."""
        columns, X = self._columns, checked(self, X)
        rows = face.all_rows(self, self.module_, columns, X)
        c = self._condition_of(y, X.shape[0])
        generator = make_generator(face.seed_of_scores(self), device_of(self.module_), stream=SCORE_STREAM)
        bound = in_type(self.module_, rows.dtype).log_likelihood(
            rows,
            condition=None if c is None else self._tensor(c),
            generator=generator,
            n_samples=self.n_importance_samples,
            shared=True,
        )
        return face.on_data_scale(bound, columns)

    def annealed_log_likelihood(
        self, X: Any, y: Any = None, *, n_temperatures: int = 200, n_runs: int = 2, random_state: Any = None
    ) -> Bound:
        """The lower bound of each case's log-likelihood in nats by annealing: tighter and slower than `log_likelihood`.

        See `deepbelief.autoencoders.annealed`. Cases share no random numbers; the standard error is that of their mean.
        """
        columns, X = self._columns, checked(self, X)
        rows = face.all_rows(self, self.module_, columns, X)
        c = self._condition_of(y, X.shape[0])
        seed = seed_of(self.random_state if random_state is None else random_state)
        bound = annealed_log_likelihood(
            in_type(self.module_, rows.dtype),
            rows,
            condition=None if c is None else self._tensor(c),
            n_temperatures=n_temperatures,
            n_runs=n_runs,
            generator=make_generator(seed, device_of(self.module_), stream=SCORE_STREAM),
        )
        return face.on_data_scale(bound, columns)

    def score_samples(self, X: Any, y: Any = None) -> Array:
        """The values of `log_likelihood` as an array: (n_samples,)."""
        values = self.log_likelihood(X, y).value
        assert isinstance(values, Tensor)
        return values.cpu().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean lower bound in nats per case."""
        return float(self.score_samples(X, y if self.conditional else None).mean())

    def _tensor(self, c: Array) -> Tensor:
        return torch.as_tensor(c, device=device_of(self.module_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = bool(self.conditional)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _code_sizes(n_components: Any) -> list[int]:
    sizes = [n_components] if np.ndim(n_components) == 0 else list(n_components)
    for size in sizes:
        check_count("n_components", size, low=1)
    return [int(size) for size in sizes]


def _start(module: Model, columns: Columns, x: Any, condition: Any, weight: Any, seed: int) -> None:
    """Biases at the data's rates, a VampPrior's inputs at some of the cases."""
    rows, order = face.starting_rows(columns, x, seed, module.visible.bias.dtype)
    c = None if condition is None else torch.as_tensor(condition[order]).to(rows.dtype)
    module.match_data(rows, None if weight is None else torch.as_tensor(weight[order]), c)
