"""log Z along a training: each checkpoint's relative to the one before, from the chains that training has anyway.

    log Z_T = log Z_0 + sum_t log (Z_t / Z_{t-1})

Every term is a Bennett ratio between models that lie close together, so no annealing from a far base is needed, and
what one checkpoint's chains cannot reach, the chains of the checkpoints before it have seen (Bereux, Decelle,
Furtlehner & Seoane 2023 on the trajectory as an annealing path; Bennett 1976).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.kernels.trajectory import Rung, frozen, uncoupled
from deepbelief.energy.partition.ais import PathFromBase
from deepbelief.energy.partition.bridge import log_z_ratio
from deepbelief.errors import check_count
from deepbelief.protocols import Generator
from deepbelief.types import Bound

SUMS = ("value", "low", "high", "variance", "widest_gap", "steps")


class TrajectoryLogZ:
    """A running log Z: give it the model and draws of it now and then, and it adds the ratio to the last one.

    The first model is bridged from its own base of independent units, whose log Z is known; begin early in training,
    when the two are close. Keep the steps small enough: `widest_gap` is the largest distance between the two one-sided
    estimates of any step, and should stay below a nat.

    >>> from deepbelief.energy.rbm import RBM
    >>> rbm, generator = RBM(6, 3), torch.Generator().manual_seed(0)
    >>> running = TrajectoryLogZ(betas=5)
    >>> running.update(rbm, rbm.sample(50, generator=generator), generator=generator).kind
    'estimate'
    """

    def __init__(self, *, betas: int = 20) -> None:
        check_count("betas", betas, low=2)
        self.betas = betas
        self.model: Rung | None = None
        self._saved: Mapping[str, Tensor] | None = None  # the model as it was loaded, until another shows its layers
        self.samples = torch.empty(0)
        self.value, self.low, self.high = 0.0, 0.0, 0.0
        self.variance, self.widest_gap, self.steps = 0.0, 0.0, 0

    @torch.no_grad()
    def update(self, rbm: Rung, samples: Tensor, *, generator: Generator = None) -> Bound:
        """log Z of `rbm`, or of a DBM's ``even_odd()``, in nats: an estimate, by draws of it (n_chains, n_visible)."""
        if self._saved is not None:
            self.model = rbm.empty_like()
            self.model.load_state_dict(dict(self._saved))
            self._saved = None
        if self.model is None:
            self._start(rbm, len(samples), generator)
        assert self.model is not None
        step = log_z_ratio(self.model, rbm, self.samples, samples, betas=self.betas, generator=generator)
        self.model, self.samples = frozen(rbm), samples.clone()
        self.value += float(step)
        self.variance += step.stderr**2
        assert step.low is not None
        assert step.high is not None
        self.low, self.high = self.low + step.low, self.high + step.high
        self.widest_gap = max(self.widest_gap, step.high - step.low)
        self.steps += 1
        return self.bound()

    def bound(self) -> Bound:
        """What is known now. Errors of the steps add up as if independent, though neighbours share their draws.

        ``low`` and ``high`` are the sums of the steps' one-sided estimates.
        """
        method = f"Bennett's acceptance ratio along {self.steps} checkpoints, widest gap {self.widest_gap:.2f}"
        return Bound(self.value, "estimate", math.sqrt(self.variance), method, self.low, self.high)

    def state_dict(self) -> dict[str, Any]:
        """The last model, its draws and the sums, for `deepbelief.storage.write_state`."""
        model = self._saved if self.model is None else dict(self.model.state_dict())
        return {"model": model, "samples": self.samples, **{name: getattr(self, name) for name in SUMS}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` at the next update."""
        self.model, self._saved, self.samples = None, state["model"], state["samples"]
        for name in SUMS:
            setattr(self, name, state[name])

    def _start(self, rbm: Rung, n: int, generator: Generator) -> None:
        path = PathFromBase(rbm)
        self.model, self.samples = uncoupled(rbm), path.draw_base(n, generator)
        self.value = self.low = self.high = path.independent_log_z()
