"""Tiny units and machines of every kind with random parameters, in float64, small enough to be known exactly."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch

from deepbelief.belief.dbn import DBN
from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.energy.conditional_rbm import ConditionalRBM
from deepbelief.energy.rbm import RBM
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.binomial import Binomial
from deepbelief.units.categorical import Categorical
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.multinomial import Multinomial
from deepbelief.units.poisson import Poisson
from deepbelief.units.pooled import Pooled
from deepbelief.units.rectified import Rectified
from deepbelief.units.side_by_side import SideBySide
from deepbelief.units.spin import Spin
from tests.oracle.joint import parts_of

ZOO: dict[str, Callable[[], Units]] = {
    "bernoulli": lambda: Bernoulli(3),
    "spin": lambda: Spin(3),
    "gaussian": lambda: Gaussian(2),
    "categorical": lambda: Categorical(2, 3),
    "side_by_side": lambda: SideBySide([Bernoulli(2), Categorical(1, 3)]),
    "with_gaussian": lambda: SideBySide([Gaussian(1), Spin(2)]),
    "rectified": lambda: Rectified(1),
    "binomial": lambda: Binomial(2, 3),
    "poisson": lambda: Poisson(1),
    "multinomial": lambda: Multinomial(3, 3),
    "pooled": lambda: Pooled(2, 2),
}
INFINITE = {"gaussian", "with_gaussian", "rectified", "poisson"}  # layers with a part that cannot be enumerated
DISCRETE = [kind for kind in ZOO if kind not in INFINITE]
COUNTS = ["rectified", "binomial", "poisson", "multinomial", "pooled"]  # paired with two kinds, not with all
OTHERS = [kind for kind in ZOO if kind not in COUNTS]
PAIRS = [
    *product(OTHERS, OTHERS),
    *[pair for kind in COUNTS for other in ("bernoulli", "gaussian") for pair in ((kind, other), (other, kind))],
    *[("rectified", "rectified"), ("poisson", "binomial"), ("binomial", "multinomial"), ("multinomial", "rectified")],
]
IMPROPER = [("poisson", "gaussian"), ("gaussian", "poisson")]  # log Z is infinite
PAIRS = [pair for pair in PAIRS if pair not in IMPROPER]
ENUMERABLE = [pair for pair in PAIRS if not INFINITE.issuperset(pair)]
DISCRETE_PAIRS = [pair for pair in PAIRS if INFINITE.isdisjoint(pair)]


@torch.no_grad()
def tiny_units(kind: str, generator: torch.Generator) -> Units:
    """Units of one kind with random biases and precisions."""
    units = ZOO[kind]().double()
    for name, parameter in units.named_parameters():
        scale = 0.3 if "precision" in name else 0.5
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return units


@torch.no_grad()
def tiny_rbm(visible: str, hidden: str, generator: torch.Generator, *, scale: float = 0.6) -> RBM:
    """A machine of two kinds with random weights and offsets; Gaussian blocks stay weak enough to be normalizable."""
    rbm = RBM(tiny_units(visible, generator), tiny_units(hidden, generator)).double()
    weight = scale * torch.randn(rbm.weight.shape, generator=generator, dtype=torch.float64)
    both = continuous_columns(rbm.visible).unsqueeze(1) & continuous_columns(rbm.hidden)
    weight = torch.where(both, 0.25 * weight.clamp(-1, 1), weight)
    counts = count_columns(rbm.visible).unsqueeze(1) | count_columns(rbm.hidden)
    rbm.weight.copy_(torch.where(counts, weight.clamp(-0.3, 0.3), weight))  # no rates beyond the table, no rare words
    random_offsets(rbm, generator)
    return rbm


@torch.no_grad()
def tiny_classifier(visible: str, hidden: str, generator: torch.Generator, *, n_classes: int = 3) -> ClassificationRBM:
    """A classification RBM of two kinds with random weights and offsets."""
    model = ClassificationRBM(tiny_units(visible, generator), tiny_units(hidden, generator), n_classes).double()
    rbm, below = model.rbm, tiny_rbm(visible, hidden, generator)
    labels = torch.randn(n_classes, rbm.hidden.size, generator=generator, dtype=torch.float64)
    rbm.weight.copy_(torch.cat([below.weight, 0.6 * labels]))
    rbm.visible.parts[1].bias.copy_(0.5 * torch.randn(n_classes, generator=generator, dtype=torch.float64))
    random_offsets(rbm, generator)
    return model


@torch.no_grad()
def tiny_conditional(visible: str, hidden: str, generator: torch.Generator, *, n_context: int = 2) -> ConditionalRBM:
    """A conditional RBM of two kinds with random weights and offsets."""
    model = ConditionalRBM(tiny_units(visible, generator), tiny_units(hidden, generator), n_context).double()
    model.rbm.load_state_dict(tiny_rbm(visible, hidden, generator).state_dict())
    for tensor in (model.context_to_v, model.context_to_h, model.context_offset):
        tensor.copy_(0.5 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
    return model


@torch.no_grad()
def tiny_dbn(kinds: list[str], n_classes: int | None, generator: torch.Generator) -> DBN:
    """A DBN over layers of these kinds, the data's first, with random parameters; labels join the top."""
    dbn = DBN.of_units([tiny_units(kind, generator) for kind in kinds], n_classes).double()
    for rbm in dbn.layers:
        for name, parameter in rbm.named_parameters():
            scale = 1.0 if name == "weight" else 0.3 if "precision" in name else 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        random_offsets(rbm, generator)
    return dbn


def continuous_columns(units: Units) -> torch.Tensor:
    """Which columns of a layer are real numbers."""
    return torch.cat([torch.full((part.size,), part.bases is None) for part in parts_of(units)])


def count_columns(units: Units) -> torch.Tensor:
    """Which columns of a layer are counts whose laws become extreme where weights are large."""
    return torch.cat([torch.full((part.size,), part.kind in ("poisson", "multinomial")) for part in parts_of(units)])


def random_offsets(rbm: RBM, generator: torch.Generator) -> None:
    """Offsets that are means of some law of the layers, as running means of data are."""
    for units, offset in ((rbm.visible, rbm.visible_offset), (rbm.hidden, rbm.hidden_offset)):
        inputs = 0.7 * torch.randn(1, units.size, generator=generator, dtype=torch.float64)
        offset.copy_(units.mean(inputs)[0])


def random_dbn(sizes: list[int], generator: torch.Generator, n_classes: int | None = None) -> DBN:
    """A DBN of bits with parameters from the normal distribution."""
    dbn = DBN.of_sizes(sizes, n_classes, generator=generator)
    with torch.no_grad():
        for parameter in dbn.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return dbn
