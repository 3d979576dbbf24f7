"""The stationarity check of replica exchange catches what can go wrong with swaps: each bug is planted, and found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepbelief.energy.kernels import exchange
from deepbelief.energy.kernels.exchange import ReplicaExchange
from deepbelief.energy.kernels.tempering import TemperatureLadder
from deepbelief.energy.kernels.trajectory import TrajectoryLadder
from tests.oracle.ladders import exchange_keeps_the_laws, tempered, trajectory
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import tiny_rbm

CHAINS = 50_000
Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def flipped_ratio(patch: pytest.MonkeyPatch) -> None:
    """Swaps accepted where they should be refused."""
    ratio = exchange.log_swap_ratio
    patch.setattr(exchange, "log_swap_ratio", lambda own, other, partner: -ratio(own, other, partner))


def one_sided_ratio(patch: pytest.MonkeyPatch) -> None:
    """Each state judged without the one that it changes places with, so that states are copied."""
    patch.setattr(exchange, "log_swap_ratio", lambda own, other, partner: own - other)


def wrong_pair(patch: pytest.MonkeyPatch) -> None:
    """The free energies of one pair decide on the swap of another."""
    ratio = exchange.log_swap_ratio
    patch.setattr(exchange, "log_swap_ratio", lambda own, other, partner: ratio(own, other, partner).flip(0))


def forgotten_base(patch: pytest.MonkeyPatch) -> None:
    """Free energies of ``beta model`` alone, without ``(1 - beta) base``, where chains sample with both."""

    def free_energy(self: TemperatureLadder, v: Tensor, inputs: Tensor, beta: float, rung: int) -> Tensor:
        hidden = self.layers[rung][1]
        return beta * self.model.visible.potential(v) - hidden.cumulant(beta * inputs)

    patch.setattr(TemperatureLadder, "_free_energy", free_energy)


def cold_hidden_units(patch: pytest.MonkeyPatch) -> None:
    """Hidden units drawn with the whole weights at every temperature."""

    def draw_h(self: TemperatureLadder, v: Tensor, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return torch.stack([layer[1].sample(i, generator) for layer, i in zip(self.layers, inputs, strict=True)])

    patch.setattr(TemperatureLadder, "draw_h", draw_h)


def neighbours_inputs_forgotten(patch: pytest.MonkeyPatch) -> None:
    """``v W`` of the own model where the neighbour's is asked for."""
    inputs = TrajectoryLadder.inputs
    patch.setattr(TrajectoryLadder, "inputs", lambda self, v, rungs, known=None: inputs(self, v, range(len(self))))


def ignored_clamp(patch: pytest.MonkeyPatch) -> None:
    """Replicas that move what they were told to hold."""
    step = ReplicaExchange.step
    patch.setattr(
        ReplicaExchange, "step", lambda self, state, *, clamp, generator: step(self, state, generator=generator)
    )


@pytest.mark.parametrize(
    ("plant", "clamped"),
    [
        *((plant, False) for plant in (no_bug, flipped_ratio, one_sided_ratio, wrong_pair, forgotten_base)),
        *((plant, True) for plant in (no_bug, ignored_clamp, flipped_ratio)),
        (cold_hidden_units, False),
    ],
)
def test_tempering(plant: Plant, clamped: bool, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    kernel, rungs = tempered(tiny_rbm("bernoulli", "bernoulli", torch.Generator().manual_seed(3), scale=2.0))
    plant(monkeypatch)
    p_value, _ = exchange_keeps_the_laws(kernel, rungs, CHAINS, generator, clamped=clamped)
    assert (p_value > FALSE_ALARM) == (plant is no_bug)


@pytest.mark.parametrize("plant", [no_bug, flipped_ratio, wrong_pair, neighbours_inputs_forgotten])
def test_trajectory(plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    fixed = torch.Generator().manual_seed(3)
    kernel, rungs = trajectory(tiny_rbm("bernoulli", "spin", fixed), fixed)
    plant(monkeypatch)
    p_value, _ = exchange_keeps_the_laws(kernel, rungs, CHAINS, generator)
    assert (p_value > FALSE_ALARM) == (plant is no_bug)
