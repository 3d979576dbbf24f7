"""What must be true of the library, as numbers: p-values of laws, and gaps between the library and its exact twins.

The tests ask that they are fine; the tests with planted bugs ask that they are not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.partition.ais import ais, reverse_ais
from deepbelief.energy.rbm import RBM
from deepbelief.protocols import StepContext
from deepbelief.types import Batch, Clamp
from deepbelief.units.base import Units
from tests.oracle.joint import Joint, mean_log_likelihood
from tests.oracle.pvalues import means_p_value

Objective = Callable[[RBM, Batch], Tensor]


def unit_law(units: Units, inputs: Tensor, n: int, generator: torch.Generator) -> float:
    """The p-value of draws of one layer given one row of inputs."""
    field = RBM(units.empty_like(), 1, weight_std=0.0).double()
    field.visible.load_state_dict(units.state_dict())
    joint = Joint.of(field).given_hidden(torch.zeros(1, dtype=torch.float64))
    joint.field = joint.field.clone()
    joint.field[: units.size] += inputs
    draws = units.sample(inputs.expand(n, -1), generator)
    return joint.p_value(torch.cat([draws, draws.new_zeros(n, 1)], 1))


def known_parts(rbm: Any) -> Tensor:
    """A mask of visible entries to clamp: the first variable of the layer, with all columns that it has."""
    first = rbm.visible.part(0) if hasattr(rbm.visible, "parts") else rbm.visible  # type: ignore[operator]
    groups = {"categorical": "n_values", "pooled": "group_size", "multinomial": "size"}
    width = getattr(first, groups[first.kind]) if first.kind in groups else 1
    return torch.arange(rbm.visible.size) < width


def gibbs_keeps_the_law(rbm: RBM, n: int, generator: torch.Generator, *, clamped: bool = False) -> float:
    """Chains that start exactly at the (conditional) law have it after a step."""
    joint, clamp = Joint.of(rbm), None
    if clamped:
        row = joint.draw(1, generator)[0]
        known = known_parts(rbm)
        clamp = Clamp(row[: rbm.visible.size], known)
        joint = joint.given(row, torch.cat([known, torch.zeros(rbm.hidden.size, dtype=torch.bool)]))
    state = ChainState(*joint.halves(joint.draw(n, generator)))
    state, _ = BlockGibbs(rbm).step(state, clamp=clamp, generator=generator)
    return joint.p_value(torch.cat([state.v, state.h], 1))


def annealing_is_unbiased(rbm: RBM, n: int, generator: torch.Generator, *, reverse: bool = False) -> float:
    """``<w> = Z / Z_base`` forward, and ``<w> = Z_base / Z`` from exact draws of the model in reverse."""
    joint = Joint.of(rbm)
    ratio = (joint.log_z - Joint.of(rbm.base()).log_z).item()
    betas = [0.0, 0.3, 0.6, 0.85, 1.0]
    if reverse:
        samples = joint.halves(joint.draw(n, generator))[0]
        weights = reverse_ais(rbm, samples, betas=betas, generator=generator).log_weights + ratio
    else:
        weights = ais(rbm, n_chains=n, betas=betas, generator=generator).log_weights - ratio
    return means_p_value(weights.exp(), 1.0)


def make_context(
    generator: torch.Generator,
    *,
    progress: float = 0.0,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> StepContext:
    """What the loop would lend for one step of one process."""
    return StepContext(0, 0, progress, generator, average=lambda tensors: None, autocast=autocast)


def library_gradient(rbm: RBM, batch: Batch, negative: NegativePhase, **options: Any) -> dict[str, Tensor]:
    """The ascent direction of one step, by parameter name: what a learning rate of one adds (and `rbm` stays)."""
    generator = torch.Generator().manual_seed(0)
    procedure = LikelihoodLearning(rbm, negative, **{"learning_rate": 1.0, "offset_rate": 0.0, **options})
    procedure.start(batch, generator)
    return step_taken(rbm, lambda: procedure.step(batch, make_context(generator)))


def step_taken(module: nn.Module, step: Callable[[], object]) -> dict[str, Tensor]:
    """By how much `step` moves each parameter; they are put back."""
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    step()
    moved = {name: parameter.detach() - before[name] for name, parameter in module.named_parameters()}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(before[name])
    return moved


class _Score(nn.Module):
    """An objective minus the decay, as a function of the parameters."""

    def __init__(self, rbm: RBM, l2: float, objective: Objective) -> None:
        super().__init__()
        self.rbm, self.l2, self.objective = rbm, l2, objective

    def forward(self, batch: Batch) -> Tensor:
        return self.objective(self.rbm, batch) - 0.5 * self.l2 * self.rbm.weight.square().sum()


def likelihood(rbm: RBM, batch: Batch) -> Tensor:
    """The enumerated mean log-likelihood of a batch."""
    return mean_log_likelihood(rbm, batch.x, batch.weight)


def exact_gradient(
    rbm: RBM, batch: Batch, *, centred: bool, l2: float = 0.0, objective: Objective = likelihood
) -> dict[str, Tensor]:
    """The gradient of an enumerated objective (the likelihood) by automatic differentiation.

    With `centred`, it is taken in the parameters of ``E = -(v - mu)' W (h - lambda) - b' (v - mu) - ...``, whose biases
    are ``b' = b + W lambda`` and ``c' = c + W' mu``, and the step that it makes there is carried back:
    ``dW``, ``db = db' - dW lambda``, ``dc = dc' - dW' mu``.
    """
    own = {name: value.detach().clone().requires_grad_() for name, value in rbm.named_parameters()}
    score = _Score(rbm, l2, objective)
    mu, lambda_ = rbm.visible_offset.clone(), rbm.hidden_offset.clone()
    if centred:
        primed = {n: (v + shift(n, rbm, own["weight"], mu, lambda_)).detach().requires_grad_() for n, v in own.items()}
        plain = {n: v - shift(n, rbm, primed["weight"], mu, lambda_) for n, v in primed.items()}
    else:
        primed, plain = own, own
    value = torch.func.functional_call(score, {f"rbm.{n}": v for n, v in plain.items()}, (batch,))
    step = dict(zip(primed, torch.autograd.grad(value, list(primed.values())), strict=True))
    if not centred:
        return step
    return {n: g - shift(n, rbm, step["weight"], mu, lambda_) for n, g in step.items()}


def shift(name: str, rbm: RBM, weight: Tensor, mu: Tensor, lambda_: Tensor) -> Tensor | float:
    """``W lambda`` or ``W' mu``, the part that belongs to this bias; nothing for other parameters."""
    if not name.endswith("bias"):
        return 0.0
    layer, _, rest = name.partition(".")
    part = weight @ lambda_ if layer == "visible" else weight.T @ mu
    units: Any = rbm.get_submodule(layer)
    while rest.startswith("parts."):  # a layer of parts may hold layers of parts
        _, number, rest = rest.split(".", 2)
        part, units = part[units.slice_of(int(number))], units.part(int(number))
    return part


def largest_gap(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The largest difference between two gradients, relative to the largest entry."""
    size = max(value.abs().max().item() for value in wanted.values())
    assert found.keys() == wanted.keys()
    return max((found[name] - wanted[name]).abs().max().item() for name in wanted) / size


def moment_rows(found: Moments) -> Tensor:
    """The moments of v, h and v h' of each chain alone: (chains, numbers)."""
    h = found.right * len(found.right)
    return torch.cat([found.left, h, (found.left.unsqueeze(2) * h.unsqueeze(1)).flatten(1)], 1)


def model_moments(joint: Joint) -> Tensor:
    """The same moments under a joint law."""
    mean, second = joint.moments()
    n = joint.n_visible
    return torch.cat([mean, second[:n, n:].flatten()])


def positive_phase(rbm: RBM, v: Tensor, weight: Tensor | None = None) -> PositivePhase:
    """The data's half, as the procedure makes it."""
    inputs = rbm.input_h_from_v(v)
    return PositivePhase(v, inputs, rbm.hidden.mean(inputs), weight)
