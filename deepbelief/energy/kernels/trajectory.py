"""Parallel trajectory tempering: replica exchange along the models that the training itself went through.

Where temperatures meet a first-order transition (the modes of clustered data appear all at once), no spacing of them
helps. A training meets its modes one after another, so neighbouring checkpoints overlap, and a ladder of them carries
states from the first model, which mixes at once, to the last (Bereux, Decelle, Furtlehner, Rosset & Seoane 2025, "Fast
training and sampling of restricted Boltzmann machines"). Rungs need nothing in common but the sizes of their layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from deepbelief.energy.coupled_layers import CoupledLayers
from deepbelief.energy.kernels.exchange import ReplicaExchange
from deepbelief.energy.kernels.gibbs import BlockGibbs, check_chains
from deepbelief.errors import check, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Clamp

Rung = CoupledLayers  # a deep Boltzmann machine is a rung as the two layers that it is


def frozen(model: Rung) -> Rung:
    """A copy that no longer learns."""
    copy = model.empty_like()
    copy.load_state_dict(model.state_dict())
    return copy.requires_grad_(False)


@torch.no_grad()
def uncoupled(model: Rung) -> Rung:
    """The model's base of independent units, as a model of its layers: the first rung."""
    copy, base = model.empty_like(), model.base()
    for weight in copy.weights:
        weight.zero_()
    copy.visible.load_state_dict(base.visible.state_dict())
    copy.hidden.load_state_dict(base.hidden.state_dict())
    return copy.requires_grad_(False)


@torch.no_grad()
def between(low: Rung, high: Rung, share: float) -> Rung:
    """The model with natural parameters ``(1 - share) low + share high``: a rung where two others are too far apart."""
    model = frozen(high)
    for weight, below, above in zip(model.weights, low.weights, high.weights, strict=True):
        weight.copy_(torch.lerp(below, above, share))
    for layer in ("visible", "hidden"):
        units = getattr(low, layer).blend(getattr(high, layer), share)
        getattr(model, layer).load_state_dict(units.state_dict())
    return model


class TrajectoryLadder:
    """One model per rung, from the easiest to the wanted one.

    Sampling after a training: ``TrajectoryTempering(TrajectoryLadder([*checkpoints, rbm]))``; of a DBM the rungs are
    its ``even_odd()`` views, and the visible states those of all even layers. `free_energy` with a neighbour's rung is
    what Bennett's ratio and annealing along the trajectory need for log Z.
    """

    def __init__(self, models: Sequence[Rung]) -> None:
        check(len(models) >= 2, f"models must hold at least 2 rungs. Got {len(models)}. Put rbm.base() first.")
        sizes = {(rbm.visible.size, rbm.hidden.size) for rbm in models}
        check(len(sizes) == 1, f"models must have layers of the same sizes. Got {sorted(sizes)}.")
        self.models = list(models)

    def __len__(self) -> int:
        return len(self.models)

    def start(self, n: int, generator: Generator) -> Tensor:
        """Every rung from independent units with its data's means."""
        check_chains(n * len(self), self.models[-1])
        return torch.stack([BlockGibbs(rbm).init(n, generator=generator).v for rbm in self.models])

    def draw_v(self, h: Tensor, generator: Generator, clamp: Clamp | None = None) -> Tensor:
        v = torch.stack([rbm.sample_v_from_h(rows, generator) for rbm, rows in zip(self.models, h, strict=True)])
        return v if clamp is None else clamp.apply(v)

    def draw_h(self, v: Tensor, inputs: Tensor, generator: Generator) -> Tensor:
        pairs = zip(self.models, inputs, strict=True)
        return torch.stack([rbm.hidden.sample(rows, generator) for rbm, rows in pairs])

    def inputs(self, v: Tensor, rungs: Sequence[int], known: Tensor | None = None) -> Tensor:
        rows = [
            known[k] if known is not None and rung == k else self.models[rung].input_h_from_v(v[k])
            for k, rung in enumerate(rungs)
        ]
        return torch.stack(rows)

    def free_energy(self, v: Tensor, inputs: Tensor, rungs: Sequence[int]) -> Tensor:
        values = []
        for k, rung in enumerate(rungs):
            rbm = self.models[rung]
            terms = rbm.hidden.cumulants(inputs[k]).sum(-1, dtype=torch.float64)
            values.append(rbm.visible.potential(v[k]).double() - terms)
        return torch.stack(values)

    def state_dict(self) -> dict[str, Any]:
        """The parameters of every rung, for `deepbelief.storage.write_state`."""
        return {"rungs": [dict(rbm.state_dict()) for rbm in self.models]}

    @classmethod
    def from_state(cls, like: Rung, state: Mapping[str, Any]) -> Self:
        """The ladder of a `state_dict`; `like` is any model of these layers."""
        return cls([thawed(like, rung) for rung in state["rungs"]])


def thawed(like: Rung, state: Mapping[str, Any]) -> Rung:
    """A frozen model of the layers of `like` with the parameters of `state`."""
    model = like.empty_like()
    model.load_state_dict(dict(state))
    return model.requires_grad_(False)


class TrajectoryTempering(ReplicaExchange):
    """Replica exchange over a trajectory of models; the last model's chains are ``state.v[-1]``.

    A sweep costs three products per chain and rung: v, ``v W`` of its own model, and ``v W`` of its neighbour's.

    >>> from deepbelief.energy.rbm import RBM
    >>> rbms = [RBM(6, 3, weight_std=size) for size in (0.0, 0.5, 1.0)]
    >>> kernel, generator = TrajectoryTempering(TrajectoryLadder(rbms)), torch.Generator().manual_seed(0)
    >>> kernel.step(kernel.init(5, generator=generator), generator=generator)[0].v.shape
    torch.Size([3, 5, 6])
    """

    ladder: TrajectoryLadder

    @torch.no_grad()
    def sample(self, n: int, *, n_steps: int = 1000, condition: Clamp | None = None, generator: Generator) -> Tensor:
        """`n` visible states of the last model: the ends of `n_steps` sweeps."""
        check_count("n_steps", n_steps, low=1)
        state = self.init(n, generator=generator)
        for _ in range(n_steps):
            state, _ = self.step(state, clamp=condition, generator=generator)
        return state.v[-1]
