"""The settings of an RBM's learning as one record, and the procedure that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.fast_pcd import FastPersistentChains
from deepbelief.energy.gradients.negative import NegativePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.tempered import TemperedChains
from deepbelief.energy.gradients.trajectory import TrajectoryChains
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check_choice, check_range
from deepbelief.training.schedules import SCHEDULES, make_schedule

LEARNING = ("pcd", "cd", "exact", "fpcd", "pt", "ptt")


@dataclass(frozen=True)
class LearningSettings:
    """How one RBM learns. ``learning`` is one of `LEARNING`; the rest are arguments of `LikelihoodLearning`.

    "pcd" has persistent chains, "cd" short ones from the data, and "exact" enumerates. "fpcd" adds fast weights, whose
    rate is `fast_rate` (None takes the initial `learning_rate`). "pt" keeps chains at `n_replicas` temperatures. "ptt"
    keeps chains at checkpoints of the training, adds one whenever the swap acceptance falls below `swap_acceptance`,
    and moves all of them every `ladder_every` updates.

    Persistent chains start at independent units, or at the first cases (``chains_start="data"``: for a model that is
    good already, such as a tied layer). The learning rate follows `schedule` over the training; ``averaging`` is the
    decay of the running average of the parameters that the model holds in the end (None for none), which removes most
    of the noise of a constant rate.
    """

    learning: Literal["pcd", "cd", "exact", "fpcd", "pt", "ptt"] = "pcd"
    k: int = 1
    n_chains: int = 100
    chains_start: Literal["base", "data"] = "base"
    epochs: int = 10
    learning_rate: float = 0.1
    schedule: str = "linear"
    momentum: float = 0.0
    optimizer: Literal["sgd", "adam"] = "sgd"
    l2: float = 0.0
    l1: float = 0.0
    centred: bool = True
    offset_rate: float = 0.01
    sparsity_target: float | None = None
    sparsity_cost: float = 0.1
    averaging: float | None = None
    fast_rate: float | None = None
    n_replicas: int = 10
    swap_acceptance: float = 0.3
    ladder_every: int = 10

    def __post_init__(self) -> None:
        check_choice("learning", self.learning, LEARNING)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_range("k", self.k, low=1)
        check_range("n_chains", self.n_chains, low=1)
        check_range("epochs", self.epochs, low=0)
        check_choice("chains_start", self.chains_start, ["base", "data"])
        check_range("n_replicas", self.n_replicas, low=2)
        check_range("swap_acceptance", self.swap_acceptance, low=0, high=1)
        check_range("ladder_every", self.ladder_every, low=1)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> LearningSettings:
        """Settings from names and values; an unknown name is an error that names the nearest known one."""
        known = [field.name for field in fields(cls)]
        for name in values:
            check_choice("the name of a setting", name, known)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Names and values, for storage and reports."""
        return asdict(self)


def make_negative_phase(settings: LearningSettings) -> NegativePhase:
    """The model's half of the gradient that `settings` name."""
    chains: dict[str, Any] = {"n_chains": settings.n_chains, "k": settings.k, "start_at": settings.chains_start}
    if settings.learning == "pcd":
        return PersistentChains(**chains)
    if settings.learning == "fpcd":
        rate = settings.learning_rate if settings.fast_rate is None else settings.fast_rate
        return FastPersistentChains(**chains, fast_rate=rate)
    if settings.learning == "pt":
        return TemperedChains(**chains, n_replicas=settings.n_replicas)
    if settings.learning == "ptt":
        ladder = {"swap_acceptance": settings.swap_acceptance, "ladder_every": settings.ladder_every}
        return TrajectoryChains(**chains, **ladder, n_replicas=settings.n_replicas)
    return ContrastiveDivergence(settings.k) if settings.learning == "cd" else ExactModel()


def make_procedure(rbm: RBM, settings: LearningSettings) -> LikelihoodLearning:
    """The procedure that `settings` describe, for one RBM."""
    return LikelihoodLearning(
        rbm,
        make_negative_phase(settings),
        learning_rate=settings.learning_rate,
        schedule=make_schedule(settings.schedule, 1.0),
        momentum=settings.momentum,
        optimizer=settings.optimizer,
        l2=settings.l2,
        l1=settings.l1,
        centred=settings.centred,
        offset_rate=settings.offset_rate,
        sparsity_target=settings.sparsity_target,
        sparsity_cost=settings.sparsity_cost,
    )
