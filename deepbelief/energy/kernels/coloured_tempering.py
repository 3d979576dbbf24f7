"""Rungs of parallel tempering for pairwise models: from independent units to the machine, over states of all units.

    log f_beta(x) = (1 - beta) b0.x + beta (b.x + x' J x / 2) / T

b0 are the biases of independent units with the means of the data. No layer is summed out: a swap of neighbours k and l
is accepted with probability ``min(1, exp((beta_l - beta_k) (r(x_k) - r(x_l))))``, ``r = log f_1 - log f_0``. The spins
of a spin glass are where replica exchange began (Swendsen & Wang 1986; Hukushima & Nemoto 1996).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepbelief.energy.kernels.coloured import Machine
from deepbelief.energy.kernels.gibbs import check_rows
from deepbelief.energy.partition.pairwise import PathFromIndependent
from deepbelief.protocols import Generator
from deepbelief.types import Clamp


class PairwiseLadder:
    """The rungs of a Boltzmann machine; all chains of all rungs are swept together, colour by colour.

    A chain's ``v`` and its ``h`` are both the state of all units, where the next sweep starts; its input is ``r``.

    >>> from deepbelief.energy.boltzmann import BoltzmannMachine
    >>> from deepbelief.energy.kernels.tempering import ParallelTempering
    >>> kernel, generator = ParallelTempering(BoltzmannMachine(4, 2), 3), torch.Generator().manual_seed(0)
    >>> kernel.init(5, generator=generator).v.shape
    torch.Size([3, 5, 6])
    """

    def __init__(self, model: Machine, betas: Tensor) -> None:
        self.model, self.betas = model, betas
        self.path = PathFromIndependent(model)

    def __len__(self) -> int:
        return len(self.betas)

    def at(self, betas: Tensor) -> PairwiseLadder:
        """The same path with its rungs elsewhere."""
        return PairwiseLadder(self.model, betas)

    def start(self, n: int, generator: Generator) -> Tensor:
        """All replicas from independent units with the data's means: (rungs, n, size)."""
        check_rows(n * len(self), self.model.size, self.model.offset)
        return self.path.draw_base(len(self) * n, generator).unflatten(0, (-1, n))

    def draw_v(self, h: Tensor, generator: Generator, clamp: Clamp | None = None) -> Tensor:
        """One sweep of every chain at its own temperature, from the states `h`: (rungs, n, size)."""
        path, n = self.path, h.shape[1]
        betas = self.betas.to(path.first).unsqueeze(1)
        bias = torch.lerp(path.first, path.last, betas).repeat_interleave(n, 0)  # (rungs * n, size)
        scale = (betas / self.model.temperature).repeat_interleave(n, 0)
        held = None if clamp is None else Clamp(*(self._for_all(part, n) for part in (clamp.values, clamp.known)))
        order = range(len(self.model.plan().blocks))
        x = path.kernel.sweep(h.flatten(0, 1), bias, scale, path.interaction, order, held, generator)[0]
        return x.unflatten(0, h.shape[:2])

    def draw_h(self, v: Tensor, inputs: Tensor, generator: Generator) -> Tensor:
        """The state itself."""
        return v

    def inputs(self, v: Tensor, rungs: Sequence[int], known: Tensor | None = None) -> Tensor:
        """``r`` of every state, the same for all rungs: (rungs, n, 1)."""
        return self.path.inputs(v.flatten(0, 1))[1].view(*v.shape[:2], 1) if known is None else known

    def free_energy(self, v: Tensor, inputs: Tensor, rungs: Sequence[int]) -> Tensor:
        """``-log f_beta(x)``, beta that of the rung that looks at it: (rungs, n)."""
        betas = self.betas[list(rungs)].to(inputs).unsqueeze(1)
        return -(v @ self.path.first).double() - betas * inputs.squeeze(-1)

    def _for_all(self, part: Tensor, n: int) -> Tensor:
        """What a clamp says of each chain, for the chains of all rungs."""
        return part if part.ndim == 1 else part.expand(n, -1).repeat(len(self), 1)
