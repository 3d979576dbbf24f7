"""Where the chains of a model run, whatever its family: their kernel, and the ways from cases to their states and back.

An RBM's chains run in itself, a stack's in its top, a deep Boltzmann machine's in its even and odd layers, a
classification RBM's in the RBM of cases beside labels, a Boltzmann machine's over all of its units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.partition.whose import MANY, has_products
from deepbelief.errors import check
from deepbelief.evaluation.likelihood import top_states
from deepbelief.protocols import Generator
from deepbelief.types import Clamp
from deepbelief.units.base import Units

CLAMPED_SWEEPS = 20  # in which units that no case names settle beside it


def part_with_chains(model: Any) -> Any | None:
    """What of `model` chains run in, or None for a model without one chain for all cases.

    >>> from deepbelief.energy.dbm import DBM
    >>> type(part_with_chains(DBM([4, 3, 2]))).__name__
    'EvenOdd'
    """
    if any(hasattr(model, mark) for mark, _, _ in MANY):
        return None  # its law depends on the case
    if is_stack(model):
        return model.layers[-1]
    if hasattr(model, "even_odd"):
        return model.even_odd()
    if hasattr(model, "joined"):
        return model.rbm
    return model if hasattr(model, "kernel") or has_products(model) else None


def is_stack(model: Any) -> bool:
    """Whether only the top of `model` is undirected, and cases go up to it and down from it."""
    return hasattr(model, "upward") and hasattr(model, "downward")


class ChainView:
    """The chains of a model. Their states' ``v`` hold the visible units of `part`; cases are rows of the data's units.

    Raises `InvalidArgumentError` for a model without chains, or whose law depends on the case.

    >>> from deepbelief.energy.boltzmann import BoltzmannMachine
    >>> view, generator = ChainView(BoltzmannMachine(4, 2)), torch.Generator().manual_seed(0)
    >>> view.states(torch.ones(3, 4), generator).shape  # hidden units beside the cases
    torch.Size([3, 6])
    """

    def __init__(self, model: Any) -> None:
        part: Any = part_with_chains(model)
        check(
            part is not None,
            f"model must have chains of one law. Got {type(model).__name__}. Use an RBM, a Boltzmann machine, a DBM or "
            "a DBN.",
        )
        self.model: Any = model
        self.part: Any = part
        self.kernel: Any = self.part.kernel() if self.is_whole else BlockGibbs(self.part)

    @property
    def is_whole(self) -> bool:
        """Whether a state's ``v`` holds all units of the model, hidden ones too: nothing is summed out."""
        return hasattr(self.part, "kernel")

    @property
    def visible(self) -> Units:
        """The units of the data."""
        units: Units = self.model.visible
        return units

    @property
    def name(self) -> str:
        """What `free_energy` gives, as the first word of "... gap"."""
        return "energy" if self.is_whole else "free-energy"

    def free_energy(self, v: Tensor) -> Tensor:
        """``F(v)`` in nats, of the part's hidden units summed out; of whole states their energy over T: (n,)."""
        return self.part.energy(v) / self.part.temperature if self.is_whole else self.part.free_energy(v)

    @torch.no_grad()
    def states(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Visible states of the chains that belong to cases: (n, d) -> (n, width).

        Units that no case names (labels, upper layers, hidden units) are drawn: in a stack going up, else in clamped
        sweeps.
        """
        if is_stack(self.model):
            return top_states(self.model, x, generator)
        row = self.part.offset if self.is_whole else self.part.visible_offset
        if len(row) == x.shape[1]:
            return x
        rows = torch.cat([x, row[x.shape[1] :].expand(len(x), -1).to(x)], 1)
        clamp = Clamp(rows, torch.arange(len(row), device=x.device) < x.shape[1])
        state = self.kernel.start_at(rows, generator=generator)
        for _ in range(CLAMPED_SWEEPS):
            state, _ = self.kernel.step(state, clamp=clamp, generator=generator)
        return state.v

    @torch.no_grad()
    def cases(self, v: Tensor, generator: Generator, *, mean: Tensor | None = None) -> Tensor:
        """Cases from visible states: (n, width) -> (n, d); in a stack, by draws down.

        With `mean`, the chain's means of v, they end in means, for pictures.
        """
        width = self.visible.size
        if not is_stack(self.model) or len(self.model.layers) == 1:
            return (v if mean is None else mean)[:, :width]
        below = v[:, : v.shape[1] - (getattr(self.model, "n_classes", None) or 0)]
        ends: dict[str, Any] = {"sample": True, "mean_at_end": mean is not None, "generator": generator}
        return self.model.downward(below, **ends)
