"""Stacked MNIST: three digits as the channels of one picture, a thousand modes, and how many a DCGAN reaches.

The modes are counted by a classifier of single digits that is trained here. Data never end: every batch pairs its
digits with two others drawn anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from deepbelief.adversarial.gan import GAN
from deepbelief.adversarial.learning import AdversarialLearning
from deepbelief.data.sets import DataSet
from deepbelief.data.source import make_source
from deepbelief.evaluation.modes import ModeCount, count_classes, mode_results
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.recipes.recipe import Options, Recipe, main
from deepbelief.rng import make_generator
from deepbelief.storage import load_model, save_model
from deepbelief.training.callbacks import Watch
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer
from deepbelief.types import Result

N_SAMPLES, WATCHED = 26_000, 5_000
N_LATENT, BATCH, EPOCHS = 100, 64, 15
# the critic must see whole digits: with (32, 64) its scores are sums over patches of 10 x 10 pixels
CHANNELS, CRITIC_CHANNELS = (32, 64, 128), (32, 64, 128, 256)
WATCH_EVERY = 1  # epochs
CLASSIFIER_CHANNELS, CLASSIFIER_EPOCHS = (16, 32), 4
LEARNING: dict[str, Any] = {
    **{"loss": "rpgan", "r1": 0.3, "r2": 0.3, "slope_every": 4, "betas": (0.0, 0.99)},
    **{"learning_rate": 5e-4, "schedule": "cosine", "averaging": 0.9995},
}


def reproduce(options: Options) -> list[Result]:
    """Train the classifier and the GAN, and count the modes of 26,000 samples and of as many stacks of test digits."""
    train, test = options.load("train"), options.load("test")
    classifier, error = trained_classifier(train, test, options)
    gan = trained_gan(train, classifier, options)
    n = 2000 if options.quick else N_SAMPLES
    real = stacks(test.scaled(), make_generator(options.seed, stream=1), n)
    made = gan.sample(n, generator=make_generator(options.seed, stream=2))
    where = f"stacked {train.name}, {n:,} samples"
    rows = mode_results(count(classifier, made), n_samples=n, data=where, model_name="DCGAN")
    rows += mode_results(count(classifier, real), n_samples=n, data=where, model_name="test digits")
    kept = [row for row in rows if row.unit != "%"]  # every sample has some class
    named = [replace(row, quantity=f"{row.quantity}, {row.model}") for row in kept]
    return [*named, Result("classifier's test error", 100 * error, "measured", None, "%", test.name, "classifier")]


def stacks(x: Tensor, generator: torch.Generator, n: int) -> Tensor:
    """`n` pictures of three rows of `x` each, drawn at random: (n, 3 * pixels)."""
    which = torch.randint(len(x), (3, n), generator=generator)
    return torch.cat([x[rows] for rows in which], 1)


def picture_shape(data: DataSet, channels: int) -> tuple[int, int, int]:
    """(channels, height, width) of the pictures of a set."""
    height, width = data.image_shape[-2:]
    return channels, height, width


@torch.no_grad()
def count(classifier: torch.nn.Module, x: Tensor) -> ModeCount:
    """Each channel's digit makes one of a thousand classes."""
    digits = x.unflatten(1, (3, -1)).flatten(0, 1)
    named = torch.cat([classifier(rows).argmax(1) for rows in digits.split(1000)]).view(-1, 3)
    return count_classes(named @ torch.tensor([100, 10, 1]), 1000)


def trained_classifier(train: DataSet, test: DataSet, options: Options) -> tuple[torch.nn.Module, float]:
    """A convolutional classifier of single digits and its test error, read back if it was finished before."""
    folder = options.folder("stacked_mnist") / "classifier"
    if options.resume and folder.exists():
        net = load_model(folder).eval()
    else:
        generator = make_generator(options.seed, stream=3)
        shape = picture_shape(train, 1)
        net = ConvolutionalEncoder(shape, 10, channels=CLASSIFIER_CHANNELS, normalization="batch", generator=generator)
        source = make_source(train.x, train.y, scale=train.scale, batch_size=100, seed=options.seed)
        trainer = Trainer(epochs=options.epochs(CLASSIFIER_EPOCHS), seed=options.seed, **options.trainer())
        trainer.fit(SupervisedProcedure(net, learning_rate=2e-3, schedule="cosine"), source)
        save_model(net.eval(), folder)
    assert test.y is not None
    with torch.no_grad():
        found = torch.cat([net(rows).argmax(1) for rows in test.scaled().split(1000)])
    return net, float((found != test.y).double().mean())


def trained_gan(train: DataSet, classifier: torch.nn.Module, options: Options) -> GAN:
    """The GAN for this seed: read back if it was finished before, else trained now or on from its checkpoint."""
    folder = options.folder("stacked_mnist")
    if options.resume and (folder / "model").exists():
        return load_model(folder / "model").eval()
    gan, everything = new_gan(picture_shape(train, 3), options), train.scaled()

    def stacked(x: Tensor, generator: torch.Generator) -> Tensor:
        others = torch.randint(len(everything), (2, len(x)), generator=generator)
        return torch.cat([x, everything[others[0]], everything[others[1]]], 1)

    def modes(epoch: int) -> dict[str, float]:
        found = count(classifier, gan.sample(WATCHED, generator=make_generator(epoch)))
        return {f"modes_of_{WATCHED}": found.hit, "kl": found.kl}

    source = make_source(everything, batch_size=BATCH, seed=options.seed, transform=stacked)
    trainer = Trainer(
        epochs=options.epochs(EPOCHS),
        seed=options.seed,
        checkpoint_dir=folder / "checkpoint",
        checkpoint_every=("step", 200),
        callbacks=[Watch(WATCH_EVERY, modes)],
        **options.trainer(),
    )
    saved = folder / "checkpoint" / LATEST
    trainer.fit(
        AdversarialLearning(gan, **LEARNING), source, resume_from=saved if options.resume and saved.exists() else None
    )
    save_model(gan, folder / "model")
    return gan


def new_gan(shape: tuple[int, int, int], options: Options) -> GAN:
    """A DCGAN for pictures of this shape, with batch normalisation in the generator."""
    channels, seen = ((8, 16), (8, 16)) if options.quick else (CHANNELS, CRITIC_CHANNELS)
    generator = make_generator(options.seed)
    maker = ConvolutionalDecoder(N_LATENT, shape, channels=channels, normalization="batch", generator=generator)
    critic = ConvolutionalEncoder(shape, 1, channels=seen, generator=generator)
    return GAN(maker, critic, N_LATENT, values="unit")


RECIPE = Recipe(
    name="stacked_mnist",
    title="Modes of stacked MNIST that a DCGAN reaches",
    paper="Metz, Poole, Pfau & Sohl-Dickstein 2017; Lin, Khetan, Fanti & Oh 2018 (PacGAN), table 2",
    published="DCGAN 99 modes (KL 3.4), PacDCGAN2 1000 modes (KL 0.06), of 1000 and 26,000 samples",
    setting="DCGAN of three blocks, a critic of four, loss of pairs, slopes on both sides, 15 epochs of 60,000",
    reached="1000 modes, KL 0.038 (seeds 0 and 1 alike; as many test digits: 1000 modes, KL 0.025)",
    time="32 minutes of one core, beside other work",
    reproduce=reproduce,
)

if __name__ == "__main__":
    main(RECIPE)
