"""The settings of an RBM's learning as one record, and the procedure that they describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.fast_pcd import FastPersistentChains
from deepbelief.energy.gradients.matching import PseudoLikelihood, RatioMatching, ScoreMatching
from deepbelief.energy.gradients.negative import NegativePhase
from deepbelief.energy.gradients.objective import Objective, ObjectiveLearning
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.tap import TAP
from deepbelief.energy.gradients.tempered import TemperedChains
from deepbelief.energy.gradients.trajectory import TrajectoryChains
from deepbelief.energy.partition.tap import check_order
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, check, check_choice, check_count, check_fraction, check_range
from deepbelief.training.schedules import SCHEDULES, make_schedule

OBJECTIVES = ("pl", "ratio", "score", "tap")
RULES = {
    "pcd": "persistent contrastive divergence",
    "cd": "contrastive divergence",
    "fpcd": "fast persistent contrastive divergence",
    "pt": "parallel tempering",
    "ptt": "trajectory tempering",
    "exact": "the exact gradient",
    "pl": "pseudo-likelihood",
    "ratio": "ratio matching",
    "score": "score matching",
    "tap": "the TAP free energy",
}


@dataclass(frozen=True)
class LearningSettings:
    """How one RBM learns; most settings are arguments of `LikelihoodLearning` or `ObjectiveLearning`.

    ``learning`` names the rule. By an estimate of the likelihood's gradient: "pcd" (persistent chains), "cd"
    (contrastive divergence), "fpcd" (persistent chains on fast weights of the rate `fast_rate`; None takes
    ``learning_rate``), "pt" (parallel tempering with `n_replicas` for each of `n_chains`), "ptt" (chains at checkpoints
    of the training too, one more whenever the swap acceptance falls below `swap_acceptance`; all of them move every
    `ladder_every` updates), "exact" (enumeration). By an objective without chains: "pl" (pseudo-likelihood), "ratio"
    (ratio matching, binary units), "score" (score matching, Gaussian units), each with ``n_variables`` drawn per case
    where it draws, and "tap" (the TAP free energy, with `n_chains` solutions moved by `k` iterations per update, of
    the second order, or of the first with ``tap_order=1``: the naive mean field).

    Persistent chains start at independent units, or at the first cases (``chains_start="data"``: for a model that is
    good already, such as a tied layer). The learning rate follows `schedule` over the training; ``averaging`` is the
    decay of the running average of the parameters that the model holds in the end (None for none), which removes most
    of the noise of a constant rate. ``ahead`` lets the persistent chains of several processes move while the gradient
    travels, on weights that are one update old ("pcd" alone).
    """

    learning: Literal["pcd", "cd", "fpcd", "pt", "ptt", "exact", "pl", "ratio", "score", "tap"] = "pcd"
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
    group_size: int | None = None
    group_cost: float = 0.0
    averaging: float | None = None
    n_variables: int = 10
    n_replicas: int = 10
    fast_rate: float | None = None
    swap_acceptance: float = 0.3
    ladder_every: int = 10
    ahead: bool = False
    tap_order: int = 2

    def __post_init__(self) -> None:
        check_choice("learning", self.learning, RULES)
        check_count("n_variables", self.n_variables, low=1)
        check_count("n_replicas", self.n_replicas, low=2)
        check_range("swap_acceptance", self.swap_acceptance, low=0, high=1)
        check_count("ladder_every", self.ladder_every, low=1)
        for name in ("learning_rate", "sparsity_cost", "l1", "l2", "group_cost"):
            check_range(name, getattr(self, name), low=0)
        check(self.centred in (True, False), f"centred must be True or False. Got centred={self.centred!r}.")
        check_fraction("momentum", self.momentum, remedy="Try 0.9.")
        check_range("offset_rate", self.offset_rate, low=0, high=1)
        check_order(self.tap_order, "tap_order")
        if self.learning in OBJECTIVES and (self.sparsity_target is not None or self.group_size is not None):
            others = ", ".join(rule for rule in RULES if rule not in OBJECTIVES)
            raise InvalidArgumentError(
                f"sparsity_target and group_size need learning to be one of {others}. "
                f"Got learning={self.learning!r}. Use None for both."
            )
        if self.ahead and self.learning != "pcd":
            raise InvalidArgumentError(f'ahead needs learning="pcd". Got learning={self.learning!r}. Use ahead=False.')
        check_choice("schedule", self.schedule, SCHEDULES)
        check_count("k", self.k, low=1)
        check_count("n_chains", self.n_chains, low=1)
        check_count("epochs", self.epochs, low=0)
        check_choice("chains_start", self.chains_start, ["base", "data"])

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> LearningSettings:
        """Settings from names and values; an unknown name is an error that names the nearest known one."""
        known = [field.name for field in fields(cls)]
        for name in values:
            check_choice("the name of a setting", name, known)
        return cls(**values)

    @property
    def rule(self) -> str:
        """The rule in a few words, for people: "PCD-5", "the exact gradient"."""
        if self.learning == "tap" and self.tap_order == 1:
            return "the mean-field free energy"
        return f"{self.learning.upper()}-{self.k}" if self.learning in ("pcd", "cd", "fpcd") else RULES[self.learning]

    def to_dict(self) -> dict[str, Any]:
        """Names and values, for storage and reports."""
        return asdict(self)


def settings_of_each(
    settings: LearningSettings | Sequence[LearningSettings], n: int, of: str = "layer"
) -> list[LearningSettings]:
    """One `LearningSettings` for all of `n` layers (or whatever `of` says), or one for each, as one for each."""
    each = [settings] * n if isinstance(settings, LearningSettings) else list(settings)
    check(len(each) == n, f"settings must be one or {n}, one for each {of}. Got {len(each)}.")
    return each


def make_procedure(rbm: RBM, settings: LearningSettings) -> LikelihoodLearning | ObjectiveLearning:
    """The procedure that `settings` describe, for one RBM."""
    shared: dict[str, Any] = {
        "learning_rate": settings.learning_rate,
        "schedule": make_schedule(settings.schedule, 1.0),
        "momentum": settings.momentum,
        "optimizer": settings.optimizer,
        "l2": settings.l2,
        "l1": settings.l1,
        "centred": settings.centred,
        "offset_rate": settings.offset_rate,
    }
    if settings.learning in OBJECTIVES:
        return ObjectiveLearning(rbm, _objective(settings), **shared)
    shared |= {"sparsity_target": settings.sparsity_target, "sparsity_cost": settings.sparsity_cost}
    shared |= {"group_size": settings.group_size, "group_cost": settings.group_cost}
    return LikelihoodLearning(rbm, make_negative(settings), **shared)


def _objective(settings: LearningSettings) -> Objective:
    if settings.learning == "pl":
        return PseudoLikelihood(settings.n_variables)
    if settings.learning == "ratio":
        return RatioMatching(settings.n_variables)
    if settings.learning == "score":
        return ScoreMatching()
    return TAP(settings.n_chains, settings.k, order=settings.tap_order)


def make_negative(settings: LearningSettings) -> NegativePhase:
    """The model's half of the gradient that `settings` name, for rules that have one."""
    chains: dict[str, Any] = {"n_chains": settings.n_chains, "k": settings.k, "start_at": settings.chains_start}
    if settings.learning == "pcd":
        return PersistentChains(**chains, ahead=settings.ahead)
    if settings.learning == "fpcd":
        rate = settings.learning_rate if settings.fast_rate is None else settings.fast_rate
        return FastPersistentChains(**chains, fast_rate=rate)
    if settings.learning == "pt":
        return TemperedChains(**chains, n_replicas=settings.n_replicas)
    if settings.learning == "ptt":
        ladder: dict[str, Any] = {"swap_acceptance": settings.swap_acceptance, "ladder_every": settings.ladder_every}
        return TrajectoryChains(**chains, **ladder, n_replicas=settings.n_replicas)
    if settings.learning == "cd":
        return ContrastiveDivergence(settings.k)
    return ExactModel()
