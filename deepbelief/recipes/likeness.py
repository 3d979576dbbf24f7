"""How like held-out data the draws of several models are, measured alike: what recipes of samplers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from deepbelief.evaluation.feature_network import FeatureNetwork
from deepbelief.evaluation.memorisation import copying_test
from deepbelief.evaluation.sample_quality import COPYING, Candidates, distance_rows
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from deepbelief.rng import make_generator
from deepbelief.types import Result

NEIGHBOURS = 5  # of precision, recall, density and coverage


def likeness_rows(
    drawn: Mapping[str, Tensor],
    train: Tensor,
    held_out: Tensor,
    networks: Sequence[FeatureNetwork],
    *,
    data: str,
    most: int,
) -> list[Result]:
    """FD, KID, precision, recall, density, coverage and C_T of each model's draws, and of both references.

    Half of the held-out cases are the yardstick, the other half the floor; copies of training cases are the cheat that
    only C_T finds out. All sets are cut to one size, at most `most`, by the same draw in every call.
    """
    generator = make_generator(0)
    sets = Candidates(train, held_out, generator, most=most)
    cut = {name: sets.cut(x, f"draws of {name}") for name, x in drawn.items()}
    rows: list[Result] = []
    for name, cases in {**cut, HELD_OUT: sets.floor, COPIES: sets.copies}.items():
        found = distance_rows(cases, sets.yardstick, networks, k=NEIGHBOURS, data=data, model_name=name)
        rows += [row for row in found if not row.quantity.startswith("FD(")]  # of single networks: their mean is there
        copying = copying_test(train, sets.yardstick, cases, generator=generator)
        rows.append(Result(COPYING, copying.value, "measured", copying.null_deviation, "", data, name))
    return rows
