"""Models with two modes of unequal weight and next to nothing between: plain chains stay in the one they begin in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.dbm import DBM


@torch.no_grad()
def deep_wells() -> DBM:
    """All units of all layers on, or all off, of unequal weight."""
    dbm = DBM([4, 3, 2], weight_std=0.0).double()
    for weight in dbm.weights:
        weight.fill_(4.0)
    for units, neighbours in zip(dbm.units, (3, 6, 3), strict=True):
        units.bias.fill_(-2.0 * neighbours + 0.1)
    for offset in dbm.offsets:
        offset.fill_(0.5)
    return dbm


@torch.no_grad()
def warm_wells() -> BoltzmannMachine:
    """All of six units on or all off, two of them hidden, at a temperature that is not 1."""
    machine = BoltzmannMachine(4, 2, temperature=1.6, coupling_std=0.0).double()
    machine.coupling.fill_(1.6 * 4.0)
    for layer in (machine.visible, machine.hidden):
        assert layer is not None
        layer.bias.fill_(1.6 * (-4.0 * 5 / 2 + 0.2))
    machine.offset.fill_(0.5)
    return machine


@torch.no_grad()
def labelled_wells() -> ClassificationRBM:
    """All on with the one label or all off with the other, of unequal weight."""
    model = ClassificationRBM(4, 3, 2, weight_std=0.0).double()
    rbm = model.rbm
    rbm.weight[:4], rbm.weight[5] = 4.0, 2.0
    model.visible.bias.fill_(-6.0 + 0.2)
    rbm.visible.part(1).bias[1] = -3.0  # type: ignore[operator]
    rbm.hidden.bias.fill_(-9.0)
    rbm.hidden_offset.fill_(0.5)
    return model


@torch.no_grad()
def shared_wells() -> ConvolutionalRBM:
    """One picture that a filter likes wholly on, or not at all."""
    rbm = ConvolutionalRBM((1, 2, 2), 3, 2, pool=1).double()
    rbm.filters.fill_(4.0)
    rbm.visible.bias.fill_(-6.0 + 0.2)
    rbm.hidden.bias.fill_(-8.0)
    return rbm


WELLS: dict[str, Callable[[], Any]] = {
    "dbm": deep_wells,
    "machine": warm_wells,
    "classes": labelled_wells,
    "convolutional": shared_wells,
}
