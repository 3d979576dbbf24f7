"""What a learning rule adds to the data's half of the gradient: a way to the model's half."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Generator


@dataclass(frozen=True)
class PositivePhase:
    """The data's half of one step: the batch, ``v W``, the mean of h, and the weights of the cases if they have any."""

    v: Tensor
    inputs: Tensor
    mean_h: Tensor
    weight: Tensor | None = None


class NegativePhase(Protocol):
    """The model's half: exact, from short chains at the data, or from persistent chains."""

    name: str

    def start(self, rbm: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        """Make what lives from step to step (chains)."""

    def moments(
        self, rbm: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        """Moments under the model (or a stand-in), and numbers to watch."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def as_rbm(model: Bipartite, name: str) -> RBM:
    """`model` as an RBM, for rules that know no other; a sentence for anything else."""
    if not isinstance(model, RBM):
        raise InvalidArgumentError(f'learning="{name}" needs an RBM. Got {type(model).__name__}. Use "pcd" instead.')
    return model


@runtime_checkable
class Ahead(Protocol):
    """A negative phase whose chains can move for the next update before this one reaches the weights."""

    ahead: bool

    def go_ahead(self, rbm: RBM, data: Tensor, generator: Generator) -> None: ...


@runtime_checkable
class Follower(Protocol):
    """A negative phase that looks at the update its moments led to: the gradients are still in the parameters."""

    def follow(self, rbm: RBM) -> None: ...
