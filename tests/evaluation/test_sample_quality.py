"""Samples beside held-out data and copies: laws of the tests, and that the floor and the cheat rank as they must."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom, mannwhitneyu
from torch import Tensor

from deepbelief.data.sets import load_set
from deepbelief.errors import InvalidDataError
from deepbelief.evaluation import memorisation
from deepbelief.evaluation.feature_network import FeatureNetwork, feature_networks, train_feature_network
from deepbelief.evaluation.memorisation import copying_test, mann_whitney_z
from deepbelief.evaluation.sample_quality import COPYING, FOUR, FRECHET, KERNEL, PAIRS_P, quality_results
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from deepbelief.evaluation.two_sample import count_right, pair_test
from deepbelief.types import Result
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

SHAPE = (1, 8, 8)


# -- the classifier's two-sample test -----------------------------------------------------------------------------


def test_guesses_are_binomial_with_ties_by_a_coin(generator: torch.Generator) -> None:
    ties = [count_right(torch.zeros(20), torch.zeros(20), generator=generator) for _ in range(500)]
    assert means_p_value(torch.tensor([[one.right] for one in ties]), 10.0) > FALSE_ALARM
    half = count_right(torch.arange(6.0), torch.arange(6.0).flip(0), generator=generator)
    assert (half.right, half.pairs, half.accuracy) == (3, 6, 0.5)
    assert half.p_value == pytest.approx(binom.sf(2, 6, 0.5))


def test_pair_test_tells_sets_apart_and_keeps_its_level(generator: torch.Generator) -> None:
    def test(shift: float, n: int) -> float:
        first, second = torch.randn(n, 2, generator=generator), torch.randn(n, 2, generator=generator) + shift
        return pair_test(first, second, generator=generator, max_steps=20).p_value

    assert test(3.0, 200) < FALSE_ALARM
    level, found = 0.2, [test(0.0, 40) for _ in range(15)]
    assert binom.sf(sum(p <= level for p in found) - 1, len(found), level) > FALSE_ALARM
    with pytest.raises(InvalidDataError, match="at least 20"):
        pair_test(torch.zeros(19, 2), torch.zeros(30, 2), generator=generator)


# -- memorisation -------------------------------------------------------------------------------------------------


def test_z_is_that_of_mann_whitney_with_ties(generator: torch.Generator) -> None:
    first, second = (torch.randint(0, 5, (n,), generator=generator).double().numpy() for n in (40, 30))
    low = mannwhitneyu(first, second, alternative="less", method="asymptotic", use_continuity=False)
    assert 0.5 * (1 + torch.erf(torch.tensor(mann_whitney_z(first, second) / 2**0.5))) == pytest.approx(low.pvalue)
    assert mann_whitney_z(np.zeros(5), np.zeros(9)) == 0.0


def copying_law(generator: torch.Generator) -> float:
    """The p-value that C_T has mean 0, and its square mean the stated variance, where samples are new data."""
    found = []
    for _ in range(80):
        sets = [torch.randn(n, 2, generator=generator) for n in (60, 80, 90)]
        test = copying_test(*sets, generator=generator, n_cells=3)
        found.append([test.value / test.null_deviation, (test.value / test.null_deviation) ** 2 - 1])
    return means_p_value(torch.tensor(found), 0.0)


def test_copying_test_has_the_stated_law_for_new_data(generator: torch.Generator) -> None:
    assert copying_law(generator) > FALSE_ALARM


def test_planted_bug_distances_to_other_data_are_seen(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = memorisation.nearest_distances
    calls: list[int] = []

    def to_other_cases_each_time(queries: Tensor, cases: Tensor) -> Tensor:
        calls.append(len(queries))
        return distances(queries, cases if len(calls) % 2 else cases[::2])

    monkeypatch.setattr(memorisation, "nearest_distances", to_other_cases_each_time)
    assert copying_law(generator) < FALSE_ALARM


def test_copies_lie_below_and_noise_above(generator: torch.Generator) -> None:
    train, held_out = (torch.randn(200, 3, generator=generator) for _ in range(2))
    copies = copying_test(train, held_out, train[:150], generator=generator, n_cells=3)
    noise = copying_test(train, held_out, 3 * torch.randn(400, 3, generator=generator), generator=generator, n_cells=3)
    assert copies.p_value < FALSE_ALARM
    assert noise.value > 5 * noise.null_deviation
    with pytest.raises(InvalidDataError, match="some cell"):
        copying_test(train, held_out[:4], train, generator=generator)


# -- all together -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor]:
    train, test = load_set("digits", split="train"), load_set("digits", split="test")
    assert train.y is not None
    return train.scaled(), train.y, test.scaled()


@pytest.fixture(scope="module")
def rows(digits: tuple[Tensor, Tensor, Tensor]) -> dict[tuple[str, str], Result]:
    train, y, test = digits
    generator = torch.Generator().manual_seed(0)
    networks = feature_networks(train, y, generator=generator, shape=SHAPE, n_networks=3, epochs=2)
    noise = torch.rand(300, 64, generator=generator)
    found = quality_results(noise, train, test, networks, data="d", model_name="m", generator=generator, shape=SHAPE)
    assert len({row.quantity for row in found if row.quantity.startswith("FD(conv")}) == 3
    return {(row.model, row.quantity): row for row in found}


def value(rows: dict[tuple[str, str], Result], model: str, quantity: str) -> float:
    found = rows[model, quantity].value
    assert found is not None
    return found


def test_floor_and_cheat_rank_as_they_must(rows: dict[tuple[str, str], Result]) -> None:
    for quantity in (FRECHET, KERNEL):
        assert max(value(rows, name, quantity) for name in (HELD_OUT, COPIES)) < value(rows, "m", quantity)
    for quantity in FOUR:
        assert min(value(rows, name, quantity) for name in (HELD_OUT, COPIES)) > value(rows, "m", quantity)
    assert value(rows, "m", PAIRS_P) < FALSE_ALARM < value(rows, HELD_OUT, PAIRS_P)
    ct = {name: value(rows, name, COPYING) / rows[name, COPYING].stderr for name in ("m", HELD_OUT, COPIES)}  # type: ignore[operator]
    assert ct[COPIES] < -5 < ct[HELD_OUT] < 5 < ct["m"]


def test_networks_are_named_by_their_weights(digits: tuple[Tensor, Tensor, Tensor]) -> None:
    train, y, _ = digits
    same = [train_feature_network(train[:200], y[:200], seed=3, shape=SHAPE, epochs=1).hash for _ in range(2)]
    other = train_feature_network(train[:200], y[:200], seed=4, shape=SHAPE, epochs=1)
    assert same[0] == same[1] != other.hash
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    assert other.hash not in same


def test_networks_learn_classes_and_clusters_stand_in_for_them(digits: tuple[Tensor, Tensor, Tensor]) -> None:
    train, y, test = digits
    net = train_feature_network(train, y, seed=0, shape=SHAPE, epochs=3)
    right = (net(test).argmax(1) == load_set("digits", split="test").y).double().mean()
    assert binom.sf(int(right * len(test)), len(test), 0.5) < FALSE_ALARM
    generator = torch.Generator().manual_seed(0)
    (table,) = feature_networks(train[:300], None, generator=generator, n_networks=1, epochs=1)
    assert isinstance(table, FeatureNetwork)
    assert table.name == "dense 64-32"
    with pytest.raises(InvalidDataError, match="numbered from 0"):
        train_feature_network(train[:10], torch.zeros(10), seed=0)


def test_too_few_cases_are_refused(digits: tuple[Tensor, Tensor, Tensor], generator: torch.Generator) -> None:
    net = FeatureNetwork(64, 10, generator=generator)
    options = {"data": "d", "model_name": "m", "generator": generator}
    with pytest.raises(InvalidDataError, match="at least 40"):
        quality_results(digits[0][:39], digits[0], digits[2], [net], **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidDataError, match="samples must be finite"):
        quality_results(torch.full((50, 64), torch.nan), digits[0], digits[2], [net], **options)  # type: ignore[arg-type]
