"""The formula check of the objective catches the bugs that it is there for: each is planted, and must be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.autoencoders.learning import AutoencoderLearning
from deepbelief.autoencoders.penalties import L1Codes, RateKL
from tests.autoencoders.test_learning import test_the_objective_is_its_formula as check_formula
from tests.autoencoders.test_learning import (
    test_the_step_goes_down_the_gradient_of_the_objective as check_gradient,
)

Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the checks must be content."""


def turned_divergence(patch: pytest.MonkeyPatch) -> None:
    """KL(rate || target) for KL(target || rate)."""

    def price(self: RateKL, module: Any, x: Tensor, z: Tensor, share: Tensor, joint: Any) -> Tensor:
        r, t = share @ z, self.target
        return (r * torch.log(r / t) + (1 - r) * torch.log((1 - r) / (1 - t))).sum()

    patch.setattr(RateKL, "price", price)


def rates_without_weights(patch: pytest.MonkeyPatch) -> None:
    """The plain mean over the batch where cases have weights."""
    price = RateKL.price
    even = lambda self, m, x, z, share, _: price(self, m, x, z, torch.full_like(share, 1 / len(share)))
    patch.setattr(RateKL, "price", even)


def mean_over_codes(patch: pytest.MonkeyPatch) -> None:
    """The mean over the code where its sum is asked for."""
    patch.setattr(L1Codes, "price", lambda self, m, x, z, share, _: share @ z.abs().mean(1))


def price_without_its_weight(patch: pytest.MonkeyPatch) -> None:
    """Every penalty at a weight of 1."""
    objective = AutoencoderLearning.objective

    def unweighted(self: AutoencoderLearning, *arguments: Any) -> dict[str, Tensor]:
        parts = objective(self, *arguments)
        return {**parts, "loss": parts["reconstruction"] + sum(parts[p.name] for p in self.penalties)}

    patch.setattr(AutoencoderLearning, "objective", unweighted)


def mean_over_pixels(patch: pytest.MonkeyPatch) -> None:
    """The mean squared error over a case where its sum is asked for."""
    losses = AutoencoderLearning._case_losses

    def averaged(self: AutoencoderLearning, x: Tensor, inputs: Tensor) -> Tensor:
        return losses(self, x, inputs) / (1 if self.loss == "log_prob" else x.shape[1])

    patch.setattr(AutoencoderLearning, "_case_losses", averaged)


def codes_held_constant(patch: pytest.MonkeyPatch) -> None:
    """A decoder that learns from codes that do not."""
    inputs = Autoencoder.input_v_from_z
    patch.setattr(Autoencoder, "input_v_from_z", lambda self, z: inputs(self, z.detach()))


FORMULA = [turned_divergence, rates_without_weights, mean_over_codes, price_without_its_weight, mean_over_pixels]


@pytest.mark.parametrize("plant", [no_bug, *FORMULA])
def test_the_formula_check(plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    plant(monkeypatch)
    if plant is no_bug:
        check_formula("deep", generator)
    else:
        with pytest.raises(AssertionError):
            check_formula("deep", generator)


@pytest.mark.parametrize("plant", [no_bug, codes_held_constant])
def test_the_gradient_check(plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    plant(monkeypatch)
    if plant is no_bug:
        check_gradient("one layer", generator)
    else:
        with pytest.raises(AssertionError):
            check_gradient("one layer", generator)
