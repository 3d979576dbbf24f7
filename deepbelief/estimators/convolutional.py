"""`ConvolutionalBeliefNetwork`: features of pictures by convolutional RBMs, as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from deepbelief.belief.convolutional_dbn import RULES, ConvolutionalDBN, train_convolutional
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.errors import check_choice
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_weight, in_type, through, without_weightless
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.learning import (
    binarizer_of,
    check_basics,
    folder_to_keep,
    layer_sizes,
    one_each,
    parameter_type,
    settings_of_layers,
    source_of,
    trainer_options,
)
from deepbelief.estimators.pictures import picture_shape
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import Drawing, OnColumns, SparseIn
from deepbelief.estimators.storage import Savable
from deepbelief.rng import make_generator
from deepbelief.types import Bound

Array = NDArray[Any]


def _is_one_layer(estimator: Any) -> bool:
    """Whether there is a likelihood: pooling units of a lower layer have no known law of their own."""
    if len(layer_sizes(estimator.n_filters)) == 1:
        return True
    raise AttributeError("only a single layer has a log-likelihood: n_filters must name one layer")


class ConvolutionalBeliefNetwork(
    Drawing, OnColumns, SparseIn, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Convolutional RBMs with probabilistic max-pooling, one over the other (Lee, Grosse, Ranganath & Ng 2009).

    Parameters
    ----------
    n_filters : int or sequence of int
        Filters of each layer from the bottom to the top.
    filter_size, pool : int or sequence of int
        Width of the (square) filters and of the pooling blocks, one for all layers or one for each. A picture minus
        ``filter_size - 1`` must be a multiple of `pool` in both directions.
    image_shape : None, (height, width) or (channels, height, width)
        The shape of a row of X. None takes it from pictures, (n, height, width) or (n, channels, height, width); flat
        rows are square pictures if their length is a square, else pictures of one row of pixels.
    all_layers : bool
        Whether `transform` gives the pooling units of all layers side by side, or those of the top alone.
    visible : "auto", "bernoulli" or "gaussian"
    learning : "cd", "pcd", "pt" or "ptt"
        Contrastive divergence, persistent chains, chains at `n_replicas` temperatures (parallel tempering), or at
        checkpoints of the training (trajectory tempering).
    k, n_chains, n_replicas, epochs, batch_size, learning_rate, schedule, momentum, l1, l2, centred, sparsity_target, \
sparsity_cost, averaging, binarization, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`. Shared weights move by the mean over the places that share them.

    Attributes
    ----------
    module_ : deepbelief.belief.convolutional_dbn.ConvolutionalDBN
        The model, a torch module.
    history_ : list of dict
        One row per epoch, with its layer.
    image_shape_ : tuple
    visible_, mean_, scale_ : as for `deepbelief.RBM`

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import ConvolutionalBeliefNetwork
    >>> X = np.random.default_rng(0).integers(0, 2, (50, 8, 8))
    >>> net = ConvolutionalBeliefNetwork(4, filter_size=3, epochs=2, random_state=0).fit(X)
    >>> net.transform(X).shape, net.sample(2, n_steps=5).shape
    ((50, 36), (2, 64))
    """

    _stored = ("visible_", "mean_", "scale_", "history_", "image_shape_", "_seed", "_log_z")
    _log_z: Bound | None = None

    def __init__(
        self,
        n_filters: int | Sequence[int] = 24,
        *,
        filter_size: int | Sequence[int] = 5,
        pool: int | Sequence[int] = 2,
        image_shape: Sequence[int] | None = None,
        all_layers: bool = False,
        visible: str = "auto",
        learning: str = "cd",
        k: int = 1,
        n_chains: int = 100,
        n_replicas: int = 10,
        epochs: int | Sequence[int] = 10,
        batch_size: int = 100,
        learning_rate: float | Sequence[float] = 0.5,
        schedule: str = "linear",
        momentum: float = 0.5,
        l1: float = 0.0,
        l2: float = 0.0,
        centred: bool = True,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        averaging: float | None = None,
        binarization: str = "none",
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_filters, self.filter_size, self.pool = n_filters, filter_size, pool
        self.image_shape, self.all_layers = image_shape, all_layers
        self.visible, self.learning, self.k = visible, learning, k
        self.n_chains, self.n_replicas = n_chains, n_replicas
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.momentum = learning_rate, schedule, momentum
        self.l1, self.l2, self.centred = l1, l2, centred
        self.sparsity_target, self.sparsity_cost, self.averaging = sparsity_target, sparsity_cost, averaging
        self.binarization, self.device, self.precision = binarization, device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X: (n_samples, n_features) or pictures; `y` is not used."""
        check_basics(self)
        check_choice("learning", self.learning, RULES)
        check_choice("visible", self.visible, ["auto", "bernoulli", "gaussian"])
        given = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
        X = checked(self, X, reset=True)
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        self.image_shape_ = picture_shape(self.image_shape, given, X.shape[1])
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        source = source_of(self, columns, X, weight=weight, seed=seed, binarizer=binarizer_of(self, seed))
        dbn = self._new_module(X, columns, seed)
        plans = settings_of_layers(self, self.epochs, len(dbn.layers))
        options = trainer_options(self, dbn)
        resume = resume_from is not None
        records = train_convolutional(
            dbn, source, plans, trainer_options=options, seed=seed, checkpoint_dir=folder, resume=resume
        )
        rows = [{"layer": layer, **row} for layer, record in enumerate(records, start=1) for row in record.history]
        self.module_, self.history_, self._seed, self._log_z = dbn, rows, seed, None
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        return self

    def _new_module(self, x: Any, columns: Columns, seed: int) -> ConvolutionalDBN:
        """The stack with small random filters; each layer's pictures are the pooling units of the one below."""
        filters = layer_sizes(self.n_filters, "n_filters")
        sizes, pools = (one_each(name, getattr(self, name), len(filters)) for name in ("filter_size", "pool"))
        layers: list[ConvolutionalRBM] = []
        shape: Sequence[int] = self.image_shape_
        for i, (n, size, pool) in enumerate(zip(filters, sizes, pools, strict=True)):
            visible = columns.units(x, None) if i == 0 else None
            generator = make_generator(seed, stream=i)
            layers.append(ConvolutionalRBM(shape, n, size, pool=pool, visible=visible, generator=generator))
            shape = layers[-1].pooled_shape
        return ConvolutionalDBN(layers).to(parameter_type(self))

    @property
    def _n_features_out(self) -> int:
        sizes = [int(np.prod(rbm.pooled_shape)) for rbm in self.module_.layers]
        return sum(sizes) if self.all_layers else sizes[-1]

    # -- use --------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:
        """How likely each pooling unit is on, of the top layer or of all: (n_samples, pooling units)."""
        columns = self._columns
        give = ConvolutionalDBN.features if self.all_layers else ConvolutionalDBN.encode
        return through(self.module_, give, checked(self, X), columns.inward)

    @property
    def log_z_(self) -> Bound:
        """log Z of a single layer in nats, with its kind."""
        check_is_fitted(self, "module_")
        _is_one_layer(self)
        return face.log_z_of(self, self.module_.layers[0])

    @available_if(_is_one_layer)
    @torch.no_grad()
    def log_likelihood(self, X: Any) -> Bound:
        """The log-likelihood of each case in nats, with its kind; of a single layer only."""
        columns = self._columns
        rows = face.all_rows(self, self.module_, columns, checked(self, X))
        twin = in_type(self.module_, rows.dtype).layers[0]
        return face.on_data_scale(twin.log_likelihood(rows, log_z=self.log_z_), columns)

    @available_if(_is_one_layer)
    def score_samples(self, X: Any) -> Array:
        """The values of `log_likelihood` as an array: (n_samples,)."""
        return self.log_likelihood(X).value.cpu().numpy()

    @available_if(_is_one_layer)
    def score(self, X: Any, y: Any = None) -> float:
        """The mean log-likelihood in nats per case."""
        return float(self.score_samples(X).mean())
