"""The checks of this project catch the bugs that they are there for: each is planted, and must be found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients import procedure
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.partition import ais as annealing
from deepbelief.energy.rbm import RBM
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.checks import (
    annealing_is_unbiased,
    exact_gradient,
    gibbs_keeps_the_law,
    largest_gap,
    library_gradient,
)
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import tiny_rbm

CHAINS = 200_000
Plant = Callable[[pytest.MonkeyPatch], None]


def machine() -> RBM:
    """A fixed machine: what a bug does to a fixed machine is either seen or not."""
    return tiny_rbm("bernoulli", "bernoulli", torch.Generator().manual_seed(3), scale=1.0)


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


# -- laws -----------------------------------------------------------------------------------------------------------


def sharpened_draws(patch: pytest.MonkeyPatch) -> None:
    """Probabilities raised to the power 1.05."""
    draw = Bernoulli.draw
    patch.setattr(Bernoulli, "draw", lambda self, inputs, mean, generator: draw(self, inputs, mean**1.05, generator))


def forgotten_bias_in_means(patch: pytest.MonkeyPatch) -> None:
    """Units drawn without their biases."""
    patch.setattr(Bernoulli, "mean", lambda self, inputs: torch.sigmoid(inputs))


def ignored_clamp(patch: pytest.MonkeyPatch) -> None:
    """A chain that moves what it was told to hold."""
    step = BlockGibbs.step
    patch.setattr(BlockGibbs, "step", lambda self, state, *, clamp, generator: step(self, state, generator=generator))


@pytest.mark.parametrize(
    ("plant", "clamped"),
    [
        (no_bug, False),
        (no_bug, True),
        (sharpened_draws, False),
        (forgotten_bias_in_means, False),
        (ignored_clamp, True),
    ],
)
def test_stationarity(plant: Plant, clamped: bool, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    plant(monkeypatch)
    p_value = gibbs_keeps_the_law(machine(), CHAINS, generator, clamped=clamped)
    assert (p_value > FALSE_ALARM) == (plant is no_bug)


# -- annealing ------------------------------------------------------------------------------------------------------


def forgotten_bias_in_cumulants(patch: pytest.MonkeyPatch) -> None:
    """log(1 + exp(I)) for log(1 + exp(b + I))."""
    patch.setattr(Bernoulli, "cumulants", lambda self, inputs: torch.nn.functional.softplus(inputs))


def cold_inputs(patch: pytest.MonkeyPatch) -> None:
    """Sweeps that forget to scale the weights by the inverse temperature."""

    def sweep(
        self: annealing.PathFromBase, beta: float, layers: tuple, inputs: Tensor, generator: torch.Generator
    ) -> Tensor:
        h = layers[1].sample(inputs, generator)
        return layers[0].sample(self.target.input_v_from_h(h), generator)

    patch.setattr(annealing.PathFromBase, "sweep", sweep)


def late_increments(patch: pytest.MonkeyPatch) -> None:
    """Increments at the state after the sweep of the next temperature."""
    increment = annealing.PathFromBase.increment

    def late(self: annealing.PathFromBase, v: Tensor, inputs: Tensor, here: tuple, there: tuple) -> Tensor:
        layers = (self.layers(there[0])[0], there[1])
        moved = self.sweep(there[0], layers, inputs, torch.Generator().manual_seed(1))
        return increment(self, moved, self.target.input_h_from_v(moved), here, there)

    patch.setattr(annealing.PathFromBase, "increment", late)


@pytest.mark.parametrize("plant", [no_bug, forgotten_bias_in_cumulants, cold_inputs, late_increments])
@pytest.mark.parametrize("reverse", [False, True])
def test_annealing(plant: Plant, reverse: bool, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    truth = Joint.of(machine())  # the enumeration does not go through the code under test
    assert torch.isfinite(truth.log_z)
    plant(monkeypatch)
    p_value = annealing_is_unbiased(machine(), CHAINS, generator, reverse=reverse)
    assert (p_value > FALSE_ALARM) == (plant is no_bug)


# -- gradients ------------------------------------------------------------------------------------------------------


def flipped_negative_phase(patch: pytest.MonkeyPatch) -> None:
    """The model's half added instead of taken away."""
    moments = ExactModel.moments

    def flipped(self: ExactModel, *arguments: object) -> tuple[Moments, object]:
        found, watched = moments(self, *arguments)  # type: ignore[arg-type]
        return Moments(-found.v, -found.h, found.left, -found.right, found.visible, found.hidden), watched

    patch.setattr(ExactModel, "moments", flipped)


def biases_left_behind(patch: pytest.MonkeyPatch) -> None:
    """The centred gradient without ``- dW lambda`` in the visible biases."""
    set_gradients = procedure.LikelihoodLearning._put_other_gradients

    def forgetful(self: procedure.LikelihoodLearning, positive: Moments, negative: Moments, shifts: object) -> None:
        set_gradients(self, positive, negative, shifts)  # type: ignore[arg-type]
        self.rbm.visible.set_gradients(negative.v - positive.v, {})

    patch.setattr(procedure.LikelihoodLearning, "_put_other_gradients", forgetful)


@pytest.mark.parametrize("plant", [no_bug, flipped_negative_phase, biases_left_behind])
def test_gradient(plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    rbm = machine()
    batch = Batch((torch.rand(7, rbm.visible.size, generator=generator) < 0.4).double())
    wanted = exact_gradient(rbm, batch, centred=True)
    plant(monkeypatch)
    gap = largest_gap(library_gradient(rbm, batch, ExactModel(), centred=True), wanted)
    assert (gap < 1e-9) == (plant is no_bug)
