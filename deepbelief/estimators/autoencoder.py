"""`Autoencoder`: short codes of cases and the way back, as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_weight, through, without_weightless
from deepbelief.estimators.autoencoder_learning import check_autoencoder, learn
from deepbelief.estimators.columns import choose_columns
from deepbelief.estimators.learning import folder_to_keep
from deepbelief.estimators.pictures import picture_shape
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import OnColumns, SparseIn
from deepbelief.estimators.storage import Savable

Array = NDArray[Any]


class Autoencoder(OnColumns, SparseIn, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A network to codes and back: plain, denoising, sparse or contractive, dense or convolutional, or out of a DBN.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Layers between the data and the code, from the data up (dense networks); empty for none.
    n_components : int
        Size of the code.
    activation : "auto", "relu", "sigmoid" or "tanh"
        Of the hidden layers; "auto" is relu, and sigmoid out of a DBN (where tanh learns faster).
    code : "identity", "sigmoid", "relu" or "tanh"
        What squashes the codes.
    tied : bool
        Whether the way down has the transposed weights of the way up (dense networks).
    network : "dense" or "convolutional"
    image_shape, channels, normalization
        Of convolutional networks: the shape of a row of X as for `ConvolutionalBeliefNetwork`, the channels of the
        blocks, and "none", "batch" or "group".
    visible : "auto", or a kind of units such as "bernoulli", "gaussian", "categorical"
        What scores a reconstruction. "auto" is Bernoulli for data in [0, 1], else Gaussian on standardized columns.
    n_values : int, optional
        As for `deepbelief.RBM`.
    learned_scale : bool
        Whether each real-valued column learns its own precision.
    loss : "log_prob" or "squared_error"
        What reconstructions are learned by.
    corruption : "none", "masking", "salt_and_pepper" or "gaussian"
        Denoising: how cases are spoilt before they are coded, with `corruption_level` (a rate, or a deviation).
    code_l1 : float
        Price of the codes' absolute values.
    sparsity_target, sparsity_cost : float
        Price of the divergence of the codes' rates from the target; None for none. Needs ``code="sigmoid"``.
    contraction : float
        Price of the squared norm of the encoder's Jacobian.
    pretrain : None or "dbn"
        "dbn": the layers learn as a stack of RBMs first, which is unrolled (Hinton & Salakhutdinov 2006): of Bernoulli
        units, or of spins for ``activation="tanh"``; the code's are Gaussian unless it is squashed. `pretrain_epochs`
        and `pretrain_learning_rate` are one number for all layers or one for each; a rate for all is that of bits over
        bits, of which Gaussian units take a hundredth and spins a quarter.
    epochs, batch_size, learning_rate, schedule, optimizer, weight_decay, averaging, binarization
        Of back-propagation; see `deepbelief.autoencoders.learning.AutoencoderLearning`.
    device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`.

    Attributes
    ----------
    module_ : Autoencoder or DeepAutoencoder
        The model, a torch module.
    history_ : list of dict
        One row per epoch of back-propagation.
    pretrain_history_ : list of dict
        One row per epoch of each RBM.
    visible_, mean_, scale_ : as for `deepbelief.RBM`

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import Autoencoder
    >>> X = np.random.default_rng(0).random((60, 8))
    >>> net = Autoencoder((6,), n_components=2, epochs=3, random_state=0).fit(X)
    >>> net.transform(X).shape, net.reconstruct(X).shape, net.score_samples(X).shape
    ((60, 2), (60, 8), (60,))
    """

    _stored = ("visible_", "mean_", "scale_", "history_", "pretrain_history_", "_seed")

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (256,),
        *,
        n_components: int = 32,
        activation: str = "auto",
        code: str = "identity",
        tied: bool = False,
        network: str = "dense",
        image_shape: Sequence[int] | None = None,
        channels: Sequence[int] = (32, 64),
        normalization: str = "none",
        visible: str = "auto",
        n_values: int | None = None,
        learned_scale: bool = True,
        loss: str = "log_prob",
        corruption: str = "none",
        corruption_level: float = 0.3,
        code_l1: float = 0.0,
        sparsity_target: float | None = None,
        sparsity_cost: float = 1.0,
        contraction: float = 0.0,
        pretrain: str | None = None,
        pretrain_epochs: int | Sequence[int] = 10,
        pretrain_learning_rate: float | Sequence[float] = 0.1,
        epochs: int = 20,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        schedule: str = "linear",
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        averaging: float | None = None,
        binarization: str = "none",
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes, self.n_components = hidden_layer_sizes, n_components
        self.activation, self.code, self.tied, self.network = activation, code, tied, network
        self.image_shape, self.channels, self.normalization = image_shape, channels, normalization
        self.visible, self.n_values, self.learned_scale, self.loss = visible, n_values, learned_scale, loss
        self.corruption, self.corruption_level = corruption, corruption_level
        self.code_l1, self.contraction = code_l1, contraction
        self.sparsity_target, self.sparsity_cost = sparsity_target, sparsity_cost
        self.pretrain, self.pretrain_epochs = pretrain, pretrain_epochs
        self.pretrain_learning_rate = pretrain_learning_rate
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.optimizer = learning_rate, schedule, optimizer
        self.weight_decay, self.averaging, self.binarization = weight_decay, averaging, binarization
        self.device, self.precision = device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X: (n_samples, n_features), images or sparse; `y` is not used.

        `resume_from` is the `checkpoint_dir` of a training that was stopped; it goes on bit for bit.
        """
        check_autoencoder(self)
        given = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
        X = checked(self, X, reset=True)
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        shape = picture_shape(self.image_shape, given, X.shape[1]) if self.network == "convolutional" else ()
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        plan: dict[str, Any] = {"shape": shape, "folder": folder, "resume": resume_from is not None, "seed": seed}
        net, self.history_, self.pretrain_history_ = learn(self, X, weight, columns, **plan)
        self.module_, self._seed = net.eval(), seed
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        return self

    @property
    def _n_features_out(self) -> int:
        return self.n_components

    def transform(self, X: Any) -> Array:
        """The codes: (n_samples, n_features) -> (n_samples, n_components)."""
        columns = self._columns
        return face.encode(self.module_, columns, checked(self, X))

    def inverse_transform(self, X: Any) -> Array:
        """The means of the data given codes: (n_samples, n_components) -> (n_samples, n_features)."""
        columns = self._columns
        return face.decode(self.module_, columns, face.checked_codes(X, self.n_components))

    def reconstruct(self, X: Any) -> Array:
        """``inverse_transform(transform(X))`` in one pass."""
        columns = self._columns
        return columns.outward(
            through(self.module_, lambda net, x: net.reconstruct(x), checked(self, X), columns.inward)
        )

    def score_samples(self, X: Any) -> Array:
        """Minus the squared reconstruction error of each case, summed over its (standardized) columns: (n_samples,).

        High for cases like those that were learned from, low for odd ones. It is no likelihood, nor a bound on one: a
        larger code raises it for every case.
        """
        columns = self._columns
        return through(
            self.module_, lambda net, x: -(x - net.reconstruct(x)).square().sum(1), checked(self, X), columns.inward
        )

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    def log_prob(self, X: Any) -> Array:
        """``log p(x | code of x)`` in nats: (n_samples,). It is no likelihood of x, whose own code stands in it."""
        columns = self._columns
        values = through(self.module_, lambda net, x: net.log_prob(x), checked(self, X), columns.inward)
        return values - np.asarray(columns.log_scale, dtype=values.dtype)
