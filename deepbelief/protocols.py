"""Capabilities: what a model, a kernel or a procedure can do, each a small Protocol. There is no base class of models.

Ask with ``isinstance(model, Density)``; the trainer, the evaluation and the estimators look at nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from deepbelief.types import Batch, Bound, Clamp

Generator = torch.Generator | None


@runtime_checkable
class Sampler(Protocol):
    """Draws new cases; `condition` clamps part of a case (a label, known pixels)."""

    def sample(self, n: int, *, condition: Clamp | None = None, generator: Generator = None) -> Tensor: ...


@runtime_checkable
class Density(Protocol):
    """Scores cases in nats, and says what kind of number the score is."""

    def log_likelihood(self, x: Tensor, *, generator: Generator = None) -> Bound: ...


@runtime_checkable
class Coder(Protocol):
    """Maps cases to codes and codes back to cases."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class Completer(Protocol):
    """Fills in what is missing: entries where `known` is False are drawn given the rest."""

    def complete(self, x: Tensor, known: Tensor, *, generator: Generator = None) -> Tensor: ...


@runtime_checkable
class Kernel(Protocol):
    """A Markov chain on many states at once: ``init`` makes them, ``step`` moves them and tells what it saw."""

    def init(self, n: int, *, generator: Generator) -> Any: ...

    def step(self, state: Any, *, clamp: Clamp | None = None, generator: Generator) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class StepContext:
    """What the loop lends a procedure for one step.

    ``progress`` runs from 0 to 1 over the whole training and drives schedules; ``average`` replaces the ``.grad`` of
    the given parameters by their mean over all processes (nothing to do with one process), and with several takes
    ``meanwhile=``, work to do while the sums travel; ``autocast`` is the
    precision context of the forward pass; ``rank`` and ``world_size`` say which share of the chains is ours.
    ``needs_gradients`` is set by a wrapper whose ``average`` changes the gradients of one process too: a procedure may
    otherwise spare the gradient that nobody looks at.
    """

    step: int
    epoch: int
    progress: float
    generator: torch.Generator
    average: Callable[..., None]
    autocast: Callable[[], AbstractContextManager[Any]]
    rank: int = 0
    world_size: int = 1
    needs_gradients: bool = False


@runtime_checkable
class Procedure(Protocol):
    """How one batch changes the parameters: CD, PCD, ELBO, adversarial, supervised. The trainer's only view.

    ``module`` holds every parameter that is trained. ``step`` computes gradients, averages them with
    ``context.average`` and applies its own optimizer(s); it returns numbers to watch (0-d tensors, so that nothing
    waits for a GPU). ``state_dict`` holds all that the next step depends on beside the module: optimizer, chains,
    counters; nested dicts and lists of tensors, numbers, strings, booleans and None.
    """

    module: torch.nn.Module

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Called once before the first step of a new training (not on resume), e.g. to start chains and offsets."""

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class BatchSource(Protocol):
    """Where the loop gets its batches.

    ``batches(epoch, ...)`` yields this rank's share of every batch of the epoch in an order that depends only on the
    source's own seed and `epoch`, so that training can resume in the middle; `generator` serves random transforms
    (stochastic binarization). Every rank yields the same number of batches, none of them empty.
    """

    n_cases: int

    def __len__(self) -> int:
        """Batches per epoch."""

    def batches(
        self, epoch: int, *, start: int = 0, generator: torch.Generator, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]: ...


@runtime_checkable
class Storable(Protocol):
    """A module that `deepbelief.storage` can save by name and rebuild without running code from the file."""

    def config(self) -> dict[str, Any]: ...

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Storable: ...
