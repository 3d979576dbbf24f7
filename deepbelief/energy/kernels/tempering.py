"""Parallel tempering: replicas from independent units to the model exchange their states, so that modes mix.

Replica r samples ``(1 - beta_r) base + beta_r model``, the path of annealing, with beta from 0 (independent units with
the data's means, which forget everything in one draw) to 1 (the model). Hidden units are summed out of the exchange:

    accept the exchange of v_r and v_s with probability  min(1, exp(F_r(v_r) + F_s(v_s) - F_r(v_s) - F_s(v_r)))

Neighbours are tried in turn, even pairs and odd pairs at alternate steps, which carries states along faster than random
pairs (Swendsen & Wang 1986; Desjardins et al. 2010; Cho, Raiko & Ilin 2010; Syed et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.energy.kernels.gibbs import check_chains
from deepbelief.energy.partition.ais import PathFromBase
from deepbelief.energy.rbm import RBM
from deepbelief.energy.units.base import Units
from deepbelief.errors import InvalidArgumentError, check_range
from deepbelief.protocols import Generator
from deepbelief.types import Clamp


@dataclass(frozen=True)
class TemperedState:
    """Visible states of all replicas (n_replicas, n_chains, n_visible), the hottest first; the last is the model's.

    ``origin`` (n_replicas, n_chains) says at which end each state was last: 0 the hot one, 1 the cold one. ``parity``
    says which pairs are tried next.
    """

    v: Tensor
    origin: Tensor
    parity: int = 0


@dataclass(frozen=True)
class TemperedInfo:
    """What a step saw: the mean acceptance of each pair that was tried (NaN for others), and the round trips it ended.

    ``mean_v`` are the conditional means that the model's own replica was drawn from.
    """

    acceptance: Tensor  # (n_replicas - 1,)
    round_trips: int
    mean_v: Tensor


class ParallelTempering:
    """The kernel for an RBM of any units; a clamp holds visible entries of all replicas.

    `betas` is a number of replicas, evenly spaced, or a sequence from 0 to 1. `adapt` moves them so that all pairs are
    accepted alike; do so before sampling, for chains whose temperatures depend on their past are not quite Markov.

    >>> generator = torch.Generator().manual_seed(0)
    >>> kernel = ParallelTempering(RBM(6, 3, generator=generator), 4)
    >>> state, info = kernel.step(kernel.init(5, generator=generator), generator=generator)
    >>> kernel.of_model(state).shape, info.acceptance.shape
    (torch.Size([5, 6]), torch.Size([3]))
    """

    def __init__(self, model: RBM, betas: int | Sequence[float] | Tensor = 10) -> None:
        self.model = model
        self.betas = _checked(torch.linspace(0, 1, betas) if isinstance(betas, int) else torch.as_tensor(betas))

    @torch.no_grad()
    def init(self, n: int, *, generator: Generator) -> TemperedState:
        """`n` chains of replicas, all from independent visible units with the data's means."""
        check_chains(n * len(self.betas), self.model)
        rows = PathFromBase(self.model).draw_base(n * len(self.betas), generator)
        return self._started(rows.reshape(len(self.betas), n, -1))

    def start_at(self, v: Tensor) -> TemperedState:
        """Chains whose replicas all start at the chain's row of v: (n_chains, n_visible)."""
        return self._started(v.expand(len(self.betas), -1, -1).clone())

    @staticmethod
    def _started(v: Tensor) -> TemperedState:
        return TemperedState(v, torch.full(v.shape[:2], -1, dtype=torch.long, device=v.device))

    @staticmethod
    def of_model(state: TemperedState) -> Tensor:
        """The visible states of the model's own replica: (n_chains, n_visible)."""
        return state.v[-1]

    @torch.no_grad()
    def step(
        self, state: TemperedState, *, clamp: Clamp | None = None, generator: Generator
    ) -> tuple[TemperedState, TemperedInfo]:
        """Try exchanges between every other pair of neighbours, then one Gibbs sweep of all replicas."""
        path = PathFromBase(self.model)
        layers = [path.layers(beta) for beta in self.betas.tolist()]
        replicas, n, width = state.v.shape
        inputs = path.inputs(state.v.reshape(-1, width)).reshape(replicas, n, -1)
        v, inputs, origin, acceptance = self._exchange(state, inputs, layers, generator)
        origin, trips = _follow(origin)
        scale = self.betas.to(inputs).view(-1, 1, 1)
        h = torch.stack([pair[1].sample(row, generator) for pair, row in zip(layers, scale * inputs, strict=True)])
        down = self.model.input_v_from_h(h.reshape(replicas * n, -1)).reshape(replicas, n, width)
        means = [pair[0].mean(row) for pair, row in zip(layers, scale * down, strict=True)]
        rows = zip(layers, scale * down, means, strict=True)
        v = torch.stack([pair[0].draw(row, mean, generator) for pair, row, mean in rows])
        if clamp is not None:
            v = clamp.apply(v)
        return TemperedState(v, origin, 1 - state.parity), TemperedInfo(acceptance, trips, means[-1])

    def _exchange(
        self, state: TemperedState, inputs: Tensor, layers: Sequence[tuple[Units, Units]], generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        v, origin, inputs = state.v.clone(), state.origin.clone(), inputs.clone()
        acceptance = torch.full((len(layers) - 1,), float("nan"), dtype=torch.float64)
        for r in range(state.parity, len(layers) - 1, 2):
            s = r + 1
            places = [(layers[k], self.betas[k].item()) for k in (r, s)]
            own = _free(*places[0], v[r], inputs[r]) + _free(*places[1], v[s], inputs[s])
            other = _free(*places[0], v[s], inputs[s]) + _free(*places[1], v[r], inputs[r])
            ratio = torch.exp((own - other).clamp(max=0))
            swap = torch.rand(ratio.shape, generator=generator, device=v.device, dtype=ratio.dtype) < ratio
            acceptance[r] = ratio.mean().double()
            for tensor in (v, inputs, origin):
                choice = swap.view(-1, *([1] * (tensor.ndim - 2)))
                tensor[r], tensor[s] = (
                    torch.where(choice, tensor[s], tensor[r]),
                    torch.where(choice, tensor[r], tensor[s]),
                )
        return v, inputs, origin, acceptance

    def adapt(self, acceptance: Tensor, share: float = 1.0) -> None:
        """Move the temperatures towards equal acceptance, given that of each pair: (n_replicas - 1,).

        The rejections between neighbours add up along the path, whatever the number of replicas; dividing their sum
        evenly is the best spacing (Syed et al. 2021). `share` of the way is gone, 1 for all of it.
        """
        check_range("share", share, low=0, high=1)
        rejection = (1 - acceptance.double()).clamp_min(1e-3)
        barrier = torch.cat([torch.zeros(1, dtype=torch.float64), rejection.cumsum(0)])
        wanted = torch.linspace(0, 1, len(barrier), dtype=torch.float64) * barrier[-1]
        right = torch.searchsorted(barrier, wanted).clamp(1, len(barrier) - 1)
        part = (wanted - barrier[right - 1]) / (barrier[right] - barrier[right - 1])
        moved = torch.lerp(self.betas[right - 1], self.betas[right], part.clamp(0, 1))
        moved[0], moved[-1] = 0.0, 1.0
        self.betas = torch.lerp(self.betas, moved, share)

    @torch.no_grad()
    def tune(
        self, state: TemperedState, *, n_rounds: int = 5, n_steps: int = 20, generator: Generator
    ) -> TemperedState:
        """`n_rounds` times: `n_steps` steps, then `adapt` to what was accepted. Returns where the chains are."""
        for _ in range(n_rounds):
            seen = []
            for _ in range(n_steps):
                state, info = self.step(state, generator=generator)
                seen.append(info.acceptance)
            self.adapt(torch.stack(seen).nanmean(0))
        return state


@torch.no_grad()
def sample_tempered(
    model: RBM, n: int, *, n_replicas: int = 10, n_steps: int = 1000, generator: Generator = None
) -> Tensor:
    """`n` cases by parallel tempering with temperatures that were tuned first: (n, n_visible)."""
    check_range("n", n, low=1)
    check_range("n_steps", n_steps, low=1)
    kernel = ParallelTempering(model, n_replicas)
    state = kernel.tune(kernel.init(n, generator=generator), generator=generator)
    for _ in range(n_steps):
        state, _ = kernel.step(state, generator=generator)
    return kernel.of_model(state)


def _free(layers: tuple[Units, Units], beta: float, v: Tensor, inputs: Tensor) -> Tensor:
    """The free energy at one temperature: (n,), float64, since large numbers are subtracted."""
    visible, hidden = layers
    return visible.potential(v).double() - hidden.cumulants(beta * inputs).sum(-1, dtype=torch.float64)


def _follow(origin: Tensor) -> tuple[Tensor, int]:
    """Mark the states at the two ends; a state that was last at the cold end and comes to the hot one ends a trip."""
    trips = int((origin[0] == 1).sum())
    origin[0], origin[-1] = 0, 1
    return origin, trips


def _checked(betas: Tensor) -> Tensor:
    path = betas.double().cpu().clone()
    if len(path) < 2 or path[0] != 0 or path[-1] != 1 or (path.diff() <= 0).any():
        raise InvalidArgumentError(
            f"betas must rise from 0 to 1, with at least 2 of them. Got {path.tolist()}. Give a number of replicas."
        )
    return path
