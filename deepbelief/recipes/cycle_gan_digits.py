"""Digits to their negatives without pairs: how many keep what they are under a CycleGAN, there and back.

One half of the training digits as they are, the other half inverted: no digit is there in both sets. The translations
of test digits are named by their nearest neighbours among the inverted training digits, and likewise on the way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbelief.data.sets import DataSet
from deepbelief.estimators.cycle_gan import CycleGAN
from deepbelief.estimators.storage import load_estimator
from deepbelief.evaluation.features import knn_accuracy
from deepbelief.recipes.recipe import Options, Recipe, main
from deepbelief.types import Result

Array = NDArray[Any]
EPOCHS, NEIGHBOURS = 40, 1
COMMON: dict[str, Any] = {"cycle": 3.0, "learning_rate": 2e-3, "batch_size": 50, "device": "cpu"}
KINDS: dict[str, dict[str, Any]] = {
    "convolutional": {"network": "convolutional", "channels": (16, 32)},
    "dense": {"network": "dense", "hidden_layer_sizes": (128, 128)},
}


@dataclass(frozen=True)
class TwoSets:
    """Digits as they are and inverted ones: unpaired training cases, and test cases of both with their labels."""

    x: Array
    labels_x: Array
    y: Array
    labels_y: Array
    test_x: Array
    test_y: Array
    truth: Array


def reproduce(options: Options) -> list[Result]:
    """Translate the test digits by networks of both kinds, by the exact inverse, and not at all."""
    sets = two_sets(options.load("train", "digits"), options.load("test", "digits"))
    results = []
    for kind in KINDS:
        model = trained(kind, sets, options)
        there, back = model.transform(sets.test_x), model.inverse_transform(sets.test_y)
        round_trip = np.abs(model.inverse_transform(there) - sets.test_x).mean()
        results += rows(sets, there, back, kind)
        results.append(_result("mean error of a pixel there and back", round_trip, "", kind))
    results += rows(sets, sets.test_y, sets.test_x, "the exact inverse")
    return results + rows(sets, sets.test_x, sets.test_y, "no translation")


def two_sets(train: DataSet, test: DataSet) -> TwoSets:
    """Every other training digit as it is, the others inverted; the test digits in both ways."""
    assert train.y is not None
    assert test.y is not None
    x, new = train.scaled().numpy(), test.scaled().numpy()
    labels = train.y.numpy()
    return TwoSets(x[0::2], labels[0::2], 1 - x[1::2], labels[1::2], new, 1 - new, test.y.numpy())


def trained(kind: str, sets: TwoSets, options: Options) -> CycleGAN:
    """The CycleGAN of these networks and this seed, read back if it was finished before, else trained now or on."""
    folder = options.folder("cycle_gan_digits") / kind
    if options.resume and (folder / "model").exists():
        found: CycleGAN = load_estimator(folder / "model")
        return found
    checkpoint = folder / "checkpoint"
    model = CycleGAN(
        epochs=options.epochs(EPOCHS),
        random_state=options.seed,
        checkpoint_dir=checkpoint,
        verbose=int(options.progress),
        **{**COMMON, **KINDS[kind]},
    )
    model.fit(sets.x, sets.y, resume_from=checkpoint if options.resume and checkpoint.exists() else None)
    model.save(folder / "model")
    return model


def rows(sets: TwoSets, there: Array, back: Array, model: str) -> list[Result]:
    """The shares of digits that are kept on both ways, and how far the pixels are from the exact inverse's."""
    found = []
    for way, cases, known, labels in (
        ("there", there, sets.y, sets.labels_y),
        ("back", back, sets.x, sets.labels_x),
    ):
        kept = knn_accuracy(known, labels, cases, sets.truth, k=NEIGHBOURS)
        error = (kept * (1 - kept) / len(cases)) ** 0.5
        found.append(_result(f"digits kept {way}", 100 * kept, "%", model, 100 * error))
    wrong = float(np.abs(there - sets.test_y).mean())
    return [*found, _result("mean error of a pixel there", wrong, "", model)]


def _result(quantity: str, value: float, unit: str, model: str, error: float | None = None) -> Result:
    return Result(f"{quantity}, {model}", float(value), "measured", error, unit, "digits test", model)


RECIPE = Recipe(
    name="cycle_gan_digits",
    title="Digits to inverted digits without pairs, and how many keep what they are",
    paper="Zhu, Park, Isola & Efros 2017, Unpaired image-to-image translation using cycle-consistent adversarial "
    "networks",
    published="none for these data: the paper's numbers are of photographs, by people and by a segmentation network. "
    "It stands beside the exact inverse, no translation, and dense networks",
    setting="719 digits of 8 x 8 pixels as they are, 719 others inverted, 359 test digits; two convolutions of 16 and "
    "32 maps, 40 epochs; named by the nearest neighbour in the set that they were brought to",
    reached="98.3 % kept there (seeds 0 to 2: 98.3, 98.9, 97.8) and 98.3 % back (each); the exact inverse 98.6 and "
    "98.3 %, dense networks 4.7, 16.2, 18.1 % and 3.9, 15.9, 4.7 %, no translation 0.6 and 1.1 %",
    time="17 seconds of one core for each seed",
    reproduce=reproduce,
)

if __name__ == "__main__":
    main(RECIPE)
