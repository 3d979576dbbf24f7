"""`CycleGAN`: translation between two sets of cases without pairs, as a transformer with a way back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import nn

from deepbelief.adversarial.cycle_gan import CycleGAN as CycleGANModule
from deepbelief.adversarial.cycle_gan import with_unpaired
from deepbelief.adversarial.cycle_learning import CycleLearning
from deepbelief.data.arrays import image_shape_of
from deepbelief.data.source import make_source
from deepbelief.errors import InvalidDataError, check_choice
from deepbelief.estimators.arrays import checked, flat, through
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.learning import (
    InDouble,
    check_basics,
    folder_to_keep,
    layer_sizes,
    parameter_type,
    trainer_options,
)
from deepbelief.estimators.pictures import picture_shape, with_channels
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.storage import Savable
from deepbelief.networks.convolutional import ConvolutionalEncoder, Shape
from deepbelief.networks.dense import DenseNetwork
from deepbelief.networks.translator import ConvolutionalTranslator
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer

Array = NDArray[Any]
NETWORK_STREAM = 108


class CycleGAN(Savable, TransformerMixin, BaseEstimator):
    """A way from the cases of one set to another's, and back, learned without pairs (Zhu et al. 2017).

    Parameters
    ----------
    hidden_layer_sizes : sequence of int
        Rectified units of each layer of both generators; the critics have the same.
    network : "dense" or "convolutional"
        Layers of `hidden_layer_sizes`; or convolutions with `channels` maps, of 3 x 3 pixels that keep a picture's size
        in the generators, strided ones in the critics: for contents that stay where they are in the picture.
    image_shape : None, (height, width) or (channels, height, width)
        The shape of a row of X, for convolutions. None takes it from pictures, (n, height, width) or (n, channels,
        height, width); flat rows are square pictures if their length is a square.
    image_shape_of_y : None, (height, width) or (channels, height, width)
        That of a row of Y. None takes it from pictures, else that of X if the rows are as long, else as for X.
    channels : sequence of int
        Maps of each layer of convolutions.
    cycle : float
        Weight of ``|F(G(x)) - x| + |G(F(y)) - y|``, means over columns.
    identity : float
        Weight of ``|G(y) - y| + |F(x) - x|``: keeps what both sets share; needs sets of one width. Without it, where
        laws have a symmetry, a translation may be any of its maps.
    history : int
        Generated cases of each set that are kept for the critics.
    averaging : float
        Decay of the running averages of the generators, which translate; 0 keeps the generators themselves, which the
        linear schedule settles.
    epochs, batch_size, learning_rate, schedule, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.GAN`. An epoch goes once through X.

    Attributes
    ----------
    module_ : deepbelief.adversarial.cycle_gan.CycleGAN
        The model, a torch module.
    history_ : list of dict
        One row per epoch: the losses of the generators, of the cycle and of the critics.
    mean_, scale_, mean_of_y_, scale_of_y_
        The standardization of both sets, or None where both lie in [0, 1].
    image_shape_, image_shape_of_y_ : tuple or None
        (channels, height, width) of both sets' pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import CycleGAN
    >>> random = np.random.default_rng(0)
    >>> X, Y = random.normal(size=(100, 3)), random.normal(size=(80, 2))
    >>> model = CycleGAN((8,), epochs=1, random_state=0).fit(X, Y)
    >>> model.transform(X).shape, model.inverse_transform(Y).shape
    ((100, 2), (80, 3))
    """

    image_shape_: Shape | None
    image_shape_of_y_: Shape | None
    _stored = (
        *("values_", "mean_", "scale_", "mean_of_y_", "scale_of_y_", "n_features_of_y_"),
        *("image_shape_", "image_shape_of_y_", "history_", "_seed"),
    )

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        *,
        network: str = "dense",
        image_shape: Sequence[int] | None = None,
        image_shape_of_y: Sequence[int] | None = None,
        channels: Sequence[int] = (16, 32),
        cycle: float = 10.0,
        identity: float = 0.0,
        history: int = 50,
        averaging: float = 0.0,
        epochs: int = 100,
        batch_size: int = 50,
        learning_rate: float = 1e-3,
        schedule: str = "linear",
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes, self.network, self.channels = hidden_layer_sizes, network, channels
        self.image_shape, self.image_shape_of_y = image_shape, image_shape_of_y
        self.cycle, self.identity, self.history, self.averaging = cycle, identity, history, averaging
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule = learning_rate, schedule
        self.device, self.precision = device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state

    def fit(self, X: Any, y: Any, resume_from: str | Path | None = None) -> Self:
        """Learn from X and y: cases of the other set, (n, d) or pictures, in any number; or labels that divide X.

        Of two kinds of labels, the cases with the first (in sorted order) are X, those with the second are Y.
        """
        check_basics(self)
        check_choice("network", self.network, ["dense", "convolutional"])
        given = image_shape_of(X), image_shape_of(y if np.ndim(y) > 1 else X)
        x, y = self._both_sets(X, y)
        self.n_features_of_y_ = y.shape[1]
        self._choose_shapes(*given, x.shape[1])
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        of_x, of_y = choose_columns(x, "auto"), choose_columns(y, "auto")
        if of_x.kind != of_y.kind:  # one squashing serves both sets, so both are standardized or neither
            of_x, of_y = Columns("gaussian"), Columns("gaussian")
        module = self._new_module(x.shape[1], of_x.kind, seed)
        other = torch.as_tensor(np.asarray(of_y.inward(y), dtype=np.float32))
        options: dict[str, Any] = {"batch_size": self.batch_size, "seed": seed, "transform": with_unpaired(other)}
        source = make_source(np.asarray(of_x.inward(x), dtype=np.float32), **options)
        trainer = Trainer(epochs=self.epochs, checkpoint_dir=folder, seed=seed, **trainer_options(self, module))
        fed = InDouble(source) if self.precision == "fp64" else source
        resumed = None if resume_from is None else folder
        record = trainer.fit(self._procedure(module, x.shape[1]), fed, resume_from=resumed)
        self.module_, self.history_, self._seed, self.values_ = module, record.history, seed, module.values
        self.mean_, self.scale_, self.mean_of_y_, self.scale_of_y_ = of_x.mean, of_x.scale, of_y.mean, of_y.scale
        return self

    def _both_sets(self, x: Any, y: Any) -> tuple[Array, Array]:
        rows = checked(self, x, reset=True)
        rows = rows.toarray() if hasattr(rows, "toarray") else rows
        if y is None:
            raise InvalidDataError("y must hold the other set, or labels of two kinds. Got None. Give y.")
        if np.ndim(y) > 1:
            return rows, check_array(flat(y), dtype=(np.float64, np.float32))
        labels = np.asarray(y)
        kinds = np.unique(labels)
        if len(labels) != len(rows) or len(kinds) != 2:
            got = f"{len(labels)} of {len(kinds)} kinds"
            raise InvalidDataError(f"y must hold a label of 2 kinds for each of {len(rows)} cases. Got {got}.")
        return rows[labels == kinds[0]], rows[labels == kinds[1]]

    def _choose_shapes(self, given: tuple[int, ...] | None, given_y: tuple[int, ...] | None, n_x: int) -> None:
        """Set both sets' shapes of pictures, or None for dense networks."""
        self.image_shape_ = self.image_shape_of_y_ = None
        if self.network == "dense":
            return
        n_y = self.n_features_of_y_
        shape = picture_shape(self.image_shape, given, n_x)
        asked = self.image_shape_of_y or (shape if given_y is None and n_y == n_x else None)
        self.image_shape_ = with_channels(shape)
        self.image_shape_of_y_ = with_channels(picture_shape(asked, given_y, n_y, names=("image_shape_of_y", "y")))

    def _new_module(self, n_x: int, kind: str, seed: int) -> CycleGANModule:
        generator, n_y = make_generator(seed, stream=NETWORK_STREAM), self.n_features_of_y_
        of_x, of_y = self.image_shape_, self.image_shape_of_y_
        ways: list[nn.Module]
        if of_x is not None and of_y is not None:
            how: dict[str, Any] = {"channels": layer_sizes(self.channels, "channels"), "generator": generator}
            ways = [ConvolutionalTranslator(*shapes, **how) for shapes in ((of_x, of_y), (of_y, of_x))]
            ways += [ConvolutionalEncoder(shape, 1, **how) for shape in (of_x, of_y)]
        else:
            sizes, widths = layer_sizes(self.hidden_layer_sizes), ((n_x, n_y), (n_y, n_x), (n_x, 1), (n_y, 1))
            relu: dict[str, Any] = {"activation": "relu", "generator": generator}
            ways = [DenseNetwork((n_in, *sizes), output=n_out, **relu) for n_in, n_out in widths]
        return CycleGANModule(*ways, values="unit" if kind == "bernoulli" else "real").to(parameter_type(self))

    def _procedure(self, module: CycleGANModule, width: int) -> CycleLearning:
        names = ("learning_rate", "schedule", "cycle", "identity", "history", "averaging")
        return CycleLearning(module, width, **{name: getattr(self, name) for name in names})

    def _columns(self) -> tuple[Columns, Columns]:
        check_is_fitted(self, "module_")
        kind = "bernoulli" if self.values_ == "unit" else "gaussian"
        return Columns(kind, self.mean_, self.scale_), Columns(kind, self.mean_of_y_, self.scale_of_y_)

    def transform(self, X: Any) -> Array:
        """Cases of X as cases of Y: (n, n_features) -> (n, n_features_of_y_)."""
        of_x, of_y = self._columns()
        return of_y.outward(through(self.module_, lambda twin, rows: twin.encode(rows), checked(self, X), of_x.inward))

    def inverse_transform(self, Y: Any) -> Array:
        """Cases of Y as cases of X: (n, n_features_of_y_) -> (n, n_features)."""
        of_x, of_y = self._columns()
        rows = check_array(flat(Y), dtype=(np.float64, np.float32))
        if rows.shape[1] != self.n_features_of_y_:
            raise InvalidDataError(f"Y must have {self.n_features_of_y_} columns. Got {rows.shape[1]}.")
        return of_x.outward(through(self.module_, lambda twin, z: twin.decode(z), rows, of_y.inward))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        return tags
