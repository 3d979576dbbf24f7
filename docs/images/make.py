"""Draw the pictures of the documentation from real runs on the embedded digits; run it in an empty folder or here.

python docs/images/make.py writes filters.png, samples.png and completions.png beside this file (about a minute).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import train_greedily
from deepbelief.data.binarize import make_binarizer
from deepbelief.data.masks import half_mask
from deepbelief.data.sets import load_set
from deepbelief.data.source import make_source
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.rng import make_generator

HERE = Path(__file__).parent
ENLARGED, GAP = 6, 1
UNKNOWN = (236, 186, 92)


def grey(cases: Tensor) -> np.ndarray:
    """Values in [0, 1], (n, 64), as ink on white, (n, 8, 8, 3)."""
    ink = 255 - (255 * cases.view(-1, 8, 8, 1).clamp(0, 1)).round().numpy()
    return ink.repeat(3, axis=3).astype(np.uint8)


def signed(weights: Tensor) -> np.ndarray:
    """Weights (n, 64): white is 0, red positive, blue negative, each picture on its own scale."""
    w = (weights / weights.abs().amax(1, keepdim=True)).view(-1, 8, 8).numpy()
    pale = 255 * (1 - np.abs(w))
    red, blue = np.where(w > 0, 255, pale), np.where(w < 0, 255, pale)
    return np.stack([red, pale, blue], 3).astype(np.uint8)


def write_tiles(tiles: np.ndarray, columns: int, path: Path) -> None:
    """Tiles (n, 8, 8, 3) in rows of `columns`, enlarged."""
    size = 8 + GAP
    page = np.full((-(-len(tiles) // columns) * size + GAP, columns * size + GAP, 3), 225, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * size + GAP, (number % columns) * size + GAP
        page[top : top + 8, left : left + 8] = tile
    picture = Image.fromarray(page)
    picture.resize((picture.width * ENLARGED, picture.height * ENLARGED), Image.Resampling.NEAREST).save(
        path, optimize=True
    )


def train() -> DBN:
    """A DBN 64-100-100 with the label in its top RBM."""
    digits = load_set("digits")
    source = make_source(digits.x, digits.y, scale=digits.scale, binarizer=make_binarizer("threshold"), batch_size=20)
    dbn = DBN.of_sizes([64, 100, 200], n_classes=10, generator=make_generator(0))
    settings = LearningSettings(epochs=100, learning_rate=0.3, averaging=0.999, l2=1e-4)
    train_greedily(dbn, source, settings, trainer_options={"progress": False})
    return dbn


@torch.no_grad()
def main() -> None:
    """Train, draw, complete."""
    dbn = train()
    strongest = dbn.layers[0].weight.norm(dim=0).argsort(descending=True)[:60]
    write_tiles(signed(dbn.layers[0].weight[:, strongest].T), 20, HERE / "filters.png")

    labels = torch.arange(10).repeat_interleave(6)
    samples = dbn.sample(60, labels=labels, n_steps=1000, mean=True, generator=make_generator(1))
    write_tiles(grey(samples.view(10, 6, 64).transpose(0, 1).reshape(60, 64)), 10, HERE / "samples.png")

    test = load_set("digits", split="test")
    first = torch.cat([(test.y == label).nonzero()[:2, 0] for label in range(10)])
    x = make_binarizer("threshold").apply(test.scaled()[first], make_generator(0))
    known = half_mask(test.image_shape, "left").expand_as(x)
    filled = DBN(dbn.layers[:1]).complete(x, known, n_steps=500, n_average=300, generator=make_generator(2))
    given = grey(x)
    given[~known.view(-1, 8, 8).numpy()] = UNKNOWN
    triples = np.stack([grey(x), given, grey(filled)], 1).reshape(-1, 8, 8, 3)
    write_tiles(triples, 15, HERE / "completions.png")


if __name__ == "__main__":
    main()
