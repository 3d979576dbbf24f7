"""Small trainings of every model of the autoencoders' and the adversarial wing, and of the stacks that hold one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.adversarial.augmentation import Augmentation
from deepbelief.adversarial.cycle_gan import CycleGAN, with_unpaired
from deepbelief.adversarial.cycle_learning import CycleLearning
from deepbelief.adversarial.gan import GAN
from deepbelief.adversarial.learning import AdversarialLearning
from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.autoencoders.corruption import GaussianNoise, Masking
from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.learning import AutoencoderLearning
from deepbelief.autoencoders.penalties import Contraction, L1Codes, RateKL
from deepbelief.autoencoders.vae_builders import convolutional_vae, dense_vae
from deepbelief.belief.dbn import DBN
from deepbelief.belief.deep_autoencoder import unroll_autoencoder
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.belief.rbm_vae_learning import RBMVAELearning
from deepbelief.belief.vae_stack import VAEStack, train_vae_stack
from deepbelief.data.base import Source
from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.dense import DenseNetwork
from deepbelief.networks.pixel_cnn import PixelCNN
from deepbelief.networks.translator import ConvolutionalTranslator
from deepbelief.protocols import Procedure
from deepbelief.training.callbacks import Callback
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian

N_CASES, BATCH, EPOCHS, WIDTH = 28, 14, 2, 9  # 2 batches an epoch; no other size is a multiple of 7
SHAPE = (1, 3, 3)
N_CLASSES, K, N_CHAINS = 4, 3, 14


def stream(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def bits() -> Tensor:
    """Patterns of `WIDTH` bits that go together in threes."""
    generator = stream(7)
    causes = torch.rand(N_CASES, 3, generator=generator) < 0.5
    return (causes.repeat_interleave(3, 1) ^ (torch.rand(N_CASES, WIDTH, generator=generator) < 0.1)).float()


def in_double(x: Tensor, generator: torch.Generator) -> Tensor:
    """Batches in float64, where sums in another order differ by rounding far below any slip."""
    return x.double()


def source(*, labels: bool = False, weighted: bool = False, x: Tensor | None = None, **options: Any) -> Source:
    """The cases in batches, with labels or weights where asked (eighths, whose sums are exact)."""
    y = torch.arange(N_CASES) % N_CLASSES if labels else None
    weight = torch.randint(1, 17, (N_CASES,), generator=stream(8)) / 8 if weighted else None
    options.setdefault("transform", in_double)
    return ArraySource(bits() if x is None else x, y, weight, batch_size=BATCH, **options)


@dataclass(frozen=True)
class Wing:
    """How one model learns, and what is true of it."""

    make: Callable[[], nn.Module]
    rule: Callable[[Any], Procedure]
    data: Callable[[], Source] = source
    by_case: bool = True  # whether a step is a function of cases and noise, however the cases are shared out
    stored: bool = True  # whether `save_model` knows it


def of_codes(**options: Any) -> Callable[[], nn.Module]:
    return lambda: Autoencoder.dense(Bernoulli(WIDTH), [5, 3], activation="tanh", generator=stream(1), **options)


def picture_autoencoder() -> nn.Module:
    how: dict[str, Any] = {"channels": (2,), "normalization": "batch", "generator": stream(1)}
    return Autoencoder.convolutional(Bernoulli(WIDTH), SHAPE, 2, **how)


def of_chances(**options: Any) -> Callable[[], nn.Module]:
    options = {"sizes": [3], "hidden": [[5]], "n_components": 4, **options}
    return lambda: dense_vae(Bernoulli(WIDTH), generator=stream(1), **options)


def picture_vae() -> nn.Module:
    return convolutional_vae(Bernoulli(WIDTH), 2, SHAPE, channels=(2,), generator=stream(1))


def discrete(n_codes: int, **options: Any) -> Callable[[], nn.Module]:
    options = {"hidden": [5], "n_codes": n_codes, **options}
    return lambda: make_rbm_vae(Bernoulli(WIDTH), (3, 2), generator=stream(1), **options)


def hanging_pixels() -> nn.Module:
    return discrete(0, pixels=PixelCNN(SHAPE[1:], maps=2, channels=2, window=3, generator=stream(2)))()


def dense_gan(*, n_classes: int | None = None, n_codes: int = 0, spectral: bool = False) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        n_noise = 2 + n_codes + (n_classes or 0)
        generator = DenseNetwork((n_noise, 5), output=WIDTH, generator=stream(1))
        critic = DenseNetwork((WIDTH, 5), output=n_classes or 1, spectral=spectral, generator=stream(2))
        return GAN(generator, critic, 2, n_classes=n_classes, n_codes=n_codes, values="unit")

    return make


def picture_gan(in_critic: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        made = ConvolutionalDecoder(2, SHAPE, channels=(2, 3), normalization="batch", generator=stream(1))
        plan: dict[str, Any] = {"channels": (2, 3), "spectral": in_critic == "none", "normalization": in_critic}
        return GAN(made, ConvolutionalEncoder(SHAPE, 1, generator=stream(2), **plan), 2, values="unit")

    return make


def there_and_back() -> nn.Module:
    sizes = [((WIDTH, 5), 4), ((4, 5), WIDTH), ((WIDTH, 5), 1), ((4, 5), 1)]
    return CycleGAN(*(DenseNetwork(size, output=n, generator=stream(i)) for i, (size, n) in enumerate(sizes)))


def picture_translation() -> nn.Module:
    """Between pictures of 3 x 3 and of 2 x 2 pixels."""
    shapes, how = (SHAPE, (1, 2, 2)), {"channels": (2, 3)}
    ways = [ConvolutionalTranslator(*shapes[:: 1 - 2 * i], generator=stream(i), **how) for i in range(2)]
    critics = [ConvolutionalEncoder(shape, 1, generator=stream(2 + i), **how) for i, shape in enumerate(shapes)]
    return CycleGAN(*ways, *critics, values="unit")


def unpaired() -> Source:
    beside = with_unpaired(torch.randn(17, 4, generator=stream(9)))
    return source(transform=lambda x, generator: beside(x, generator).double())


def adversarial(**options: Any) -> Callable[[Any], Procedure]:
    return lambda gan: AdversarialLearning(gan, **{"learning_rate": 0.01, "averaging": 0.9, **options})


def bound(**options: Any) -> Callable[[Any], Procedure]:
    return lambda vae: ELBO(vae, learning_rate=0.01, **options)


def reconstructions(**options: Any) -> Callable[[Any], Procedure]:
    return lambda net: AutoencoderLearning(net, learning_rate=0.01, **options)


def discrete_bound(**options: Any) -> Callable[[Any], Procedure]:
    return lambda model: RBMVAELearning(
        model, learning_rate=0.01, k=K, n_chains=N_CHAINS, n_steps=2, offset_rate=0.1, **options
    )


def cycle(**options: Any) -> Callable[[Any], Procedure]:
    return lambda model: CycleLearning(model, WIDTH, learning_rate=0.01, **options)


def weighted() -> Source:
    return source(weighted=True)


def labelled() -> Source:
    return source(labels=True)


def real_valued() -> Source:
    return source(weighted=True, x=torch.randn(N_CASES, WIDTH, generator=stream(6)))


SPARSE = reconstructions(penalties=[RateKL(1.0, 0.2), L1Codes(0.1), Contraction(0.1)], corruption=Masking(0.3))
CHANGED = Augmentation(["translation", "cutout", "color"], SHAPE)
WINGS: dict[str, Wing] = {
    "autoencoder, sparse, denoising, contractive": Wing(of_codes(code="sigmoid"), SPARSE, weighted),
    "autoencoder, tied, real-valued": Wing(
        lambda: Autoencoder.dense(Gaussian(WIDTH), [5, 3], tied=True, generator=stream(1)),
        reconstructions(corruption=GaussianNoise(0.2)),
        real_valued,
    ),
    "autoencoder, convolutional, batch norm": Wing(picture_autoencoder, reconstructions(), by_case=False),
    "autoencoder out of a dbn": Wing(
        lambda: unroll_autoencoder(DBN.of_units([Bernoulli(WIDTH), Bernoulli(5), Gaussian(3)], generator=stream(1))),
        reconstructions(loss="squared_error"),
    ),
    "vae, free bits": Wing(of_chances(), bound(free_bits=0.05, warmup=0.5), weighted),
    "vae, two layers": Wing(of_chances(sizes=[4, 2], hidden=[[5], [3]]), bound(beta=2.0), weighted),
    "vae, conditional": Wing(of_chances(n_condition=N_CLASSES), bound(), labelled),
    "vae, conditional, its prior too": Wing(of_chances(n_condition=N_CLASSES, prior="conditional"), bound(), labelled),
    "vae, convolutional": Wing(picture_vae, bound()),
    "vae, residual": Wing(of_chances(hidden=[[5, 5]], network="residual"), bound(), weighted),
    "iwae": Wing(of_chances(prior="mixture"), bound(k=K), weighted),
    "iwae, two layers": Wing(of_chances(sizes=[4, 2], hidden=[[5], [3]]), bound(k=K), weighted),
    "iwae, dreg, vamp": Wing(of_chances(prior="vamp"), bound(k=K, gradient="dreg"), weighted),
    "rbm vae, relaxed": Wing(discrete(0), discrete_bound(warmup=0.5)),
    "rbm vae, residual": Wing(discrete(0, hidden=[5, 5], network="residual"), discrete_bound()),
    "rbm vae, a dbn as its prior": Wing(
        lambda: make_rbm_vae(Bernoulli(WIDTH), (3, 2, 2), hidden=[5], generator=stream(1)), discrete_bound()
    ),
    "rbm vae, pixels after pixels": Wing(hanging_pixels, discrete_bound()),
    "rbm vae, vimco, codes below": Wing(discrete(2), discrete_bound(gradient="vimco", negative="exact")),
    "gan, ns": Wing(dense_gan(), adversarial(loss="ns", r1=0.1)),
    "gan, minimax, codes": Wing(dense_gan(n_codes=3), adversarial(loss="minimax")),
    "gan, lsgan, conditional": Wing(dense_gan(n_classes=N_CLASSES), adversarial(loss="lsgan"), labelled),
    "gan, rpgan": Wing(dense_gan(), adversarial(loss="rpgan", r1=0.1, r2=0.1, slope_every=2)),
    "gan, wgan": Wing(dense_gan(), adversarial(loss="wgan", clip=0.1, n_critic=2)),
    "gan, wgan-gp": Wing(dense_gan(), adversarial(loss="wgan-gp", n_critic=2)),
    "gan, hinge, spectral": Wing(dense_gan(spectral=True), adversarial(loss="hinge", n_critic=2)),
    "gan, hinge, spectral, conditional": Wing(
        dense_gan(n_classes=N_CLASSES, n_codes=2, spectral=True), adversarial(loss="hinge"), labelled
    ),
    "dcgan, augmented": Wing(picture_gan("none"), adversarial(augment=CHANGED, loss="hinge"), by_case=False),
    "dcgan, batch norm in both": Wing(picture_gan("batch"), adversarial(), by_case=False),
    "cycle gan": Wing(there_and_back, cycle(history=0), unpaired),
    "cycle gan, history": Wing(there_and_back, cycle(history=20), unpaired, by_case=False),
    "cycle gan, convolutional, averaged": Wing(picture_translation, cycle(history=0, averaging=0.9), unpaired),
}
STACK = "vae stack"
EVERY = [*WINGS, STACK]


class PulledPlugError(Exception):
    """Stands in for a crash."""


class Crash(Callback):
    """Ends the training after one chosen step, without a word."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            raise PulledPlugError


def train(
    name: str,
    *,
    crash_at: int | None = None,
    checkpoint_dir: Path | None = None,
    resume_from: Path | None = None,
    noise: AbstractContextManager[None] | None = None,
) -> dict[str, Any]:
    """Train one of `EVERY` anew or from a checkpoint, drawing within `noise`; the whole outcome but the times."""
    noise = noise or nullcontext()
    if name == STACK:
        return _train_stack(crash_at, checkpoint_dir, resume_from, noise)
    wing = WINGS[name]
    model = wing.make().double()
    rule = wing.rule(model)
    every: dict[str, Any] = {"checkpoint_every": 3, "checkpoint_dir": checkpoint_dir, "callbacks": [Crash(crash_at)]}
    trainer = Trainer(epochs=EPOCHS, progress=False, device="cpu", seed=3, **every)
    data = wing.data()
    with noise:
        trainer.fit(rule, data, resume_from=resume_from)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.record.history]
    return {
        "module": dict(model.state_dict()),
        "buffers": dict(model.named_buffers()),
        "procedure": rule.state_dict(),
        "history": rows,
        "rank": trainer.rank,
    }


def make_stack() -> VAEStack:
    """Two RBMs under a VAE."""
    below = DBN.of_sizes([WIDTH, 5, 4], generator=stream(1))
    return VAEStack(below, dense_vae(Bernoulli(4), [2], hidden=[[5]], generator=stream(2))).double()


def _train_stack(
    crash_at: int | None, checkpoint_dir: Path | None, resume_from: Path | None, noise: AbstractContextManager[None]
) -> dict[str, Any]:
    stack, data = make_stack(), source()
    counted: Iterator[int] = iter(range(1, 1000))
    step = ELBO.step

    def failing(rule: ELBO, batch: Batch, context: Any) -> Any:
        if next(counted) == crash_at:
            raise PulledPlugError
        return step(rule, batch, context)

    ELBO.step = failing  # type: ignore[method-assign]
    try:
        plan: dict[str, Any] = {"top_epochs": EPOCHS, "top": {"learning_rate": 0.01}, "averaging": 0.9, "seed": 3}
        plan["trainer_options"] = {"progress": False, "device": "cpu", "checkpoint_every": 3}
        folder = checkpoint_dir if resume_from is None else resume_from
        settings = LearningSettings(learning="cd", epochs=EPOCHS)
        options: dict[str, Any] = {"checkpoint_dir": folder, "resume": resume_from is not None}
        with noise:
            _, record = train_vae_stack(stack, data, settings, **plan, **options)
    finally:
        ELBO.step = step  # type: ignore[method-assign]
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in record.history]
    return {"module": dict(stack.state_dict()), "buffers": dict(stack.named_buffers()), "history": rows}


def saved_at(name: str, folder: Path) -> Path:
    """The checkpoint that a crashed training left."""
    return folder / "top" / LATEST if name == STACK else folder / LATEST
