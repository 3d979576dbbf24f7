"""Updates of a DBM of bits by the kernels, and its two rows of bits drawn in one call: each what the parts give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients import weights
from deepbelief.energy.gradients.deep import DBMLearning
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.native import products
from deepbelief.rng import make_generator
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.side_by_side import SideBySide
from tests.native.data import bits
from tests.native.widths import built
from tests.oracle.checks import make_context

pytestmark = pytest.mark.usefixtures("small_ones_too")
UPDATES: dict[str, dict[str, Any]] = {
    "in one product": {"l2": 0.3},
    "not centred": {"centred": False},
    "by the gradient": {"momentum": 0.5, "l2": 0.3},
}


def trained(how: dict[str, Any], x: Tensor) -> tuple[DBM, Tensor]:
    """A machine after three updates, and the hidden states of its chains."""
    generator = make_generator(1)
    dbm = DBM([x.shape[1], 70, 40], weight_std=0.3, generator=make_generator(0))
    dbm.match_data(x)
    chains = PersistentChains(53, 2)
    rule = DBMLearning(dbm, chains, learning_rate=0.1, **how)
    rule.start(Batch(x), generator)
    for _ in range(3):
        rule.step(Batch(x), make_context(generator))
    return dbm, chains.h


@built
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_by_bits_is_the_dense_update(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer of the data goes by bits, the one above, whose means are no bits, by a dense product."""
    x, by_bits, original = bits(45, 80), [], weights.bits_step

    def spy(*args: Any) -> bool:
        by_bits.append(original(*args))
        return by_bits[-1]

    monkeypatch.setattr(weights, "bits_step", spy)
    fast, fast_chains = trained(UPDATES[name], x)
    assert by_bits == [True, False] * 3
    monkeypatch.setattr(products, "library", lambda: None)
    slow, slow_chains = trained(UPDATES[name], x)
    assert not any(by_bits[6:])
    assert torch.equal(fast_chains, slow_chains)
    for (part, a), b in zip(fast.state_dict().items(), slow.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6, msg=part)


@built
def test_rows_of_bits_are_one_layer(generator: torch.Generator) -> None:
    """Means, draws and changes of the partition function are those of a single layer with all biases."""
    parts, others = ([Bernoulli(5), Bernoulli(40), Bernoulli(7)] for _ in range(2))
    for units in [*parts, *others]:
        units.bias.data.normal_(generator=generator)
    one, base = Bernoulli(52), Bernoulli(52)
    row, base_row = SideBySide(parts), SideBySide(others)
    one.bias.data, base.bias.data = row.bias.detach(), base_row.bias.detach()
    inputs = torch.randn(640, 52, generator=generator)
    with torch.no_grad():
        assert all(
            map(
                torch.equal,
                row.mean_and_sample(inputs, make_generator(3)),
                one.mean_and_sample(inputs, make_generator(3)),
            )
        )
        changes = base_row.cumulant_change(inputs, 0.2, row, 0.7), base.cumulant_change(inputs, 0.2, one, 0.7)
        by_parts = row.cumulant(0.7 * inputs) - base_row.cumulant(0.2 * inputs)
    assert torch.equal(*changes)
    torch.testing.assert_close(changes[0], by_parts.double(), rtol=1e-4, atol=1e-4)


def test_a_row_of_bits_has_its_gradient(generator: torch.Generator) -> None:
    """Where autograd looks, the mean is not the kernel's, which has no way back."""
    row, inputs = SideBySide([Bernoulli(3), Bernoulli(4)]), torch.randn(2, 7, generator=generator)
    mean, _ = row.mean_and_sample(inputs, generator)
    found = torch.autograd.grad(mean.sum(), [units.bias for units in row.parts])  # type: ignore[arg-type]
    torch.testing.assert_close(torch.cat(found), (mean * (1 - mean)).sum(0))
