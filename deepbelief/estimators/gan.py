"""`GAN`: a generative adversarial network as an estimator that samples, with labels or without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from deepbelief.adversarial.augmentation import Augmentation, InstanceNoise, in_turn
from deepbelief.adversarial.gan import GAN as GANModule
from deepbelief.adversarial.learning import AdversarialLearning
from deepbelief.adversarial.losses import LOSSES
from deepbelief.errors import (
    InvalidArgumentError,
    InvalidDataError,
    check,
    check_choice,
    check_count,
    check_range,
    check_sequence,
)
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_pair, device_of
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.learning import (
    check_basics,
    folder_to_keep,
    layer_sizes,
    parameter_type,
    source_of,
    trainer_options,
)
from deepbelief.estimators.pictures import picture_shape, with_channels
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.storage import Savable
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.dense import DenseNetwork
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer

Array = NDArray[Any]
NETWORK_STREAM = 107


class GAN(Savable, BaseEstimator):
    """A generator and a critic (Goodfellow et al. 2014): new cases, of a class where asked, and no likelihood.

    Parameters
    ----------
    n_components : int
        Numbers of noise that a case is made from.
    n_codes : int
        Codes beside the noise, of which one is on; a few for each mode where the data fall into modes that stand apart.
    network : "dense" or "convolutional"
        Layers of `hidden_layer_sizes` rectified units in both networks; or strided convolutions with `n_filters`
        channels from the picture inwards (DCGAN, Radford et al. 2016), batch normalisation in the generator.
    image_shape : None, (height, width) or (channels, height, width)
        The shape of a row of X, for convolutions and `augment`. None takes it from pictures, (n, height, width) or
        (n, channels, height, width); flat rows are square pictures if their length is a square.
    conditional : bool
        Whether cases are made for a label: `fit` then needs y.
    values : "auto", "unit" or "real"
        "unit" for X in [0, 1], where the generator ends in a sigmoid; "real" takes X as it is; "auto" takes "unit"
        where X lies in [0, 1] and else standardizes the columns, which samples undo.
    loss : "ns", "minimax", "lsgan", "wgan", "wgan-gp", "hinge" or "rpgan"
        See `deepbelief.adversarial.losses`. `penalty` belongs to "wgan-gp", `clip` to "wgan".
    n_critic : int or None
        Steps of the critic for each of the generator; None takes 5 for the Wasserstein losses, else 1.
    spectral : bool or None
        Spectral normalisation of the critic (Miyato et al. 2018); None takes it for the hinge loss.
    r1, r2 : float
        Weights of ``E |grad s|^2 / 2`` on the data and on generated cases; "rpgan" asks for both.
    slope_every : int
        Steps of the critic from one that `r1` and `r2` count in to the next, so many times then (Karras et al. 2020).
    pack : int
        Cases that the critic sees at once (Lin et al. 2018), against lost modes; 1 where there are labels.
    instance_noise : float
        The widest normal noise on what the critic sees, data and generated cases alike, at the start of the training;
        at its end there is none. Modes that stand apart overlap for the critic at first, and are learned sharply later.
        In the columns' standard deviations where these are standardized; 0 for none.
    augment : sequence of "translation", "cutout" and "color"
        Differentiable augmentation of pictures (Zhao et al. 2020), for small data.
    averaging : float
        Decay of the running average of the generator, which draws the samples.
    epochs, batch_size, schedule, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`.
    learning_rate, critic_learning_rate, betas
        Rates of Adam for the generator and the critic (None: the same), and its decays.

    Attributes
    ----------
    module_ : deepbelief.adversarial.gan.GAN
        The model, a torch module.
    history_ : list of dict
        One row per epoch: both losses, the critic's accuracy on data and on generated cases, and what shows a collapse:
        ``diversity`` and ``nearest``, distances within a batch of generated cases over those within the data.
    classes_ : ndarray
        The labels, sorted, of a conditional GAN.
    image_shape_ : tuple or None

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import GAN
    >>> X = np.random.default_rng(0).normal([3.0, -3.0], 0.1, (200, 2))
    >>> gan = GAN(2, hidden_layer_sizes=(16,), epochs=2, random_state=0).fit(X)
    >>> gan.sample(5).shape, hasattr(gan, "score_samples")
    ((5, 2), False)
    """

    image_shape_: tuple[int, int, int] | None
    _stored = ("values_", "mean_", "scale_", "history_", "image_shape_", "classes_", "_seed")

    def __init__(
        self,
        n_components: int = 64,
        *,
        n_codes: int = 0,
        network: str = "dense",
        hidden_layer_sizes: Sequence[int] = (256, 256),
        n_filters: Sequence[int] = (32, 64),
        image_shape: Sequence[int] | None = None,
        conditional: bool = False,
        values: str = "auto",
        loss: str = "ns",
        n_critic: int | None = None,
        spectral: bool | None = None,
        penalty: float = 10.0,
        clip: float = 0.01,
        r1: float = 0.0,
        r2: float = 0.0,
        slope_every: int = 1,
        pack: int = 1,
        instance_noise: float = 0.0,
        augment: Sequence[str] = (),
        averaging: float = 0.999,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 5e-4,
        critic_learning_rate: float | None = None,
        betas: tuple[float, float] = (0.5, 0.999),
        schedule: str = "constant",
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.n_codes, self.network = n_components, n_codes, network
        self.hidden_layer_sizes, self.n_filters, self.image_shape = hidden_layer_sizes, n_filters, image_shape
        self.conditional, self.values = conditional, values
        self.loss, self.n_critic, self.spectral = loss, n_critic, spectral
        self.penalty, self.clip, self.pack = penalty, clip, pack
        self.r1, self.r2, self.slope_every = r1, r2, slope_every
        self.instance_noise, self.augment, self.averaging = instance_noise, augment, averaging
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.critic_learning_rate = learning_rate, critic_learning_rate
        self.betas, self.schedule = betas, schedule
        self.device, self.precision = device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X: (n_samples, n_features) or pictures; y holds the labels of a conditional GAN."""
        check_basics(self)
        check_choice("network", self.network, ["dense", "convolutional"])
        check_choice("values", self.values, ["auto", "unit", "real"])
        check_choice("loss", self.loss, LOSSES)
        for name, least in (("n_components", 1), ("n_codes", 0), ("pack", 1)):
            check_count(name, getattr(self, name), low=least)
        check_range("instance_noise", self.instance_noise, low=0)
        given = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
        X, codes = self._checked_cases(X, y)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        check_sequence("augment", self.augment, "names")
        pictures = self.network == "convolutional" or len(self.augment) > 0
        shape = picture_shape(self.image_shape, given, X.shape[1]) if pictures else None
        self.image_shape_ = None if shape is None else with_channels(shape)
        columns = self._choose_columns(X)
        module = self._new_module(X.shape[1], columns, seed)
        if codes is not None:
            module.match_labels(torch.from_numpy(codes))
        procedure = self._procedure(module)
        source = source_of(self, columns, X, codes, seed=seed)
        trainer = Trainer(epochs=self.epochs, checkpoint_dir=folder, seed=seed, **trainer_options(self, module))
        record = trainer.fit(procedure, source, resume_from=None if resume_from is None else folder)
        self.module_, self.history_, self._seed = module, record.history, seed
        self.values_, self.mean_, self.scale_ = module.values, columns.mean, columns.scale
        return self

    def _checked_cases(self, x: Any, y: Any) -> tuple[Any, NDArray[np.int64] | None]:
        """Cases and class numbers; sets ``classes_``."""
        if not self.conditional:
            return checked(self, x, reset=True), None
        if y is None:
            raise InvalidDataError(
                "y must hold labels: conditional=True requires y to be passed, but the target y is None. "
                "Give y, or conditional=False."
            )
        x, y = checked_pair(self, x, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidDataError(f"y must hold at least 2 classes. Got 1 class: {self.classes_.tolist()[0]!r}.")
        return x, codes.astype(np.int64)

    def _choose_columns(self, x: Any) -> Columns:
        if self.values == "auto":
            return choose_columns(x, "auto")
        if self.values == "real":
            return Columns("gaussian")
        low, high = x.min(), x.max()
        check(low >= 0 and high <= 1, f'X must lie in [0, 1] for values="unit". Got {low} to {high}. Scale it.')
        return Columns("bernoulli")

    def _new_module(self, width: int, columns: Columns, seed: int) -> GANModule:
        n_classes = len(self.classes_) if self.conditional else None
        generator = make_generator(seed, stream=NETWORK_STREAM)
        n_inputs, n_scores = self.n_components + self.n_codes + (n_classes or 0), n_classes or 1
        spectral = self.loss == "hinge" if self.spectral is None else self.spectral
        how: dict[str, Any] = {"generator": generator}
        maker: torch.nn.Module
        critic: torch.nn.Module
        if self.network == "dense":
            sizes = layer_sizes(self.hidden_layer_sizes)
            maker = DenseNetwork((n_inputs, *sizes), activation="relu", output=width, **how)
            critic = DenseNetwork(
                (self.pack * width, *reversed(sizes)), activation="relu", output=n_scores, spectral=spectral, **how
            )
        else:
            how |= {"channels": layer_sizes(self.n_filters, "n_filters")}
            assert self.image_shape_ is not None
            maker = ConvolutionalDecoder(n_inputs, self.image_shape_, normalization="batch", **how)
            channels, *size = self.image_shape_
            critic = ConvolutionalEncoder((self.pack * channels, *size), n_scores, spectral=spectral, **how)
        values = "unit" if columns.kind == "bernoulli" else "real"
        module = GANModule(maker, critic, self.n_components, values=values, n_classes=n_classes, n_codes=self.n_codes)
        return module.to(parameter_type(self))

    def _procedure(self, module: GANModule) -> AdversarialLearning:
        shape, pictures = self.image_shape_, len(self.augment) > 0
        changes: list[Augmentation | InstanceNoise] = [Augmentation(self.augment, shape)] if pictures and shape else []
        changes += [InstanceNoise(self.instance_noise)] if self.instance_noise else []
        return AdversarialLearning(
            module,
            loss=self.loss,
            n_critic=self.n_critic,
            learning_rate=self.learning_rate,
            critic_learning_rate=self.critic_learning_rate,
            betas=self.betas,
            schedule=self.schedule,
            penalty=self.penalty,
            clip=self.clip,
            r1=self.r1,
            r2=self.r2,
            slope_every=self.slope_every,
            pack=self.pack,
            augment=in_turn(changes),
            averaging=self.averaging,
        )

    @property
    def _columns(self) -> Columns:
        check_is_fitted(self, "module_")
        return Columns("bernoulli" if self.values_ == "unit" else "gaussian", self.mean_, self.scale_)

    # -- use --------------------------------------------------------------------------------------------------------

    def sample(self, n_samples: int = 1, *, label: Any = None, random_state: Any = None) -> Array:
        """New cases; `label` is one class for all of them, or one for each (without it, as frequent as in the data)."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        return face.sample(self.module_, columns, n_samples, state, labels=self._numbers(label, n_samples))

    @torch.no_grad()
    def interpolate(
        self, n_steps: int = 10, *, label: Any = None, random_state: Any = None, spherical: bool = True
    ) -> Array:
        """Cases on the way between two draws of noise, on the great circle or the chord: (n_steps, n_features)."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        generator = make_generator(seed_of(state), device_of(self.module_), stream=face.SAMPLE_STREAM)
        start, end = self.module_.latent(2, generator)
        labels = self._numbers(label, 1)
        if labels is None:
            labels = self.module_.draw_labels(1, generator)
        path = self.module_.interpolate(start, end, n_steps, labels=labels, spherical=spherical)
        return columns.outward(path.cpu().numpy())

    def _numbers(self, label: Any, n: int) -> torch.Tensor | None:
        """Labels as class numbers on the module's device."""
        if label is None:
            return None
        if not self.conditional:
            raise InvalidArgumentError("label must be None. Got one. Fit with conditional=True and y.")
        given = np.atleast_1d(label)
        check(given.shape in ((1,), (n,)), f"label must be one class or {n}, one for each case. Got {given.shape}.")
        wanted = np.broadcast_to(given, (n,))
        unknown = wanted[~np.isin(wanted, self.classes_)]
        if len(unknown):
            raise InvalidArgumentError(f"label must be one of {self.classes_.tolist()}. Got {unknown[0]!r}.")
        return torch.from_numpy(np.searchsorted(self.classes_, wanted)).to(device_of(self.module_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = bool(self.conditional)
        return tags
