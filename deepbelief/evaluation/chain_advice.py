"""Sentences of advice on chains: those that learning leaned on, those of the finished model, and its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.evaluation.chain_data import Comparison
from deepbelief.evaluation.chains import AGREED, ChainDiagnosis
from deepbelief.types import Bound, Result

SMALLEST_DRIFT = 1.0  # nats of mean free energy
SLOW_SWEEPS, SLOW_UPDATES = 50.0, 10.0  # a relaxation time of so many sweeps, or of so many updates, is long
FAR, TWICE = 5.0, 2.0  # a distance counts from so many spreads above its floor, and so many times the floor, on
APART, FEWEST_ERRORS = 75.0, 3.0  # percent of adversarial accuracy; standard errors
STEPS_OF_K = (2, 5, 10, 20, 50, 100)
MOST_RAISED = 20  # times k at once


def suggested_k(k: int, relaxation_time: float) -> int:
    """A round number of sweeps per update that is about the relaxation time, at most 20 times what it was.

    >>> suggested_k(1, 13.0), suggested_k(1, 400.0), suggested_k(5, 3.0)
    (20, 20, 10)
    """
    wanted, most = min(relaxation_time, MOST_RAISED * k), MOST_RAISED * k
    steps = [step for step in STEPS_OF_K if k < step <= most] or [2 * k, most]
    return next((step for step in steps if step >= wanted), steps[-1])


def learning_advice(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], learning: Mapping[str, LearningSettings] | None = None
) -> list[str]:
    """Whether the chains that learning leaned on were out of equilibrium at the end (the last ``chain_gap``)."""
    found = []
    for stage, rows in histories.items():
        last = next((row for row in reversed(rows) if row.get("chain_gap") is not None), None)
        if last is None:
            continue
        gap, error = float(last["chain_gap"]), float(last.get("chain_gap.stderr") or 0.0)
        if abs(gap) - FEWEST_ERRORS * error <= SMALLEST_DRIFT:
            continue
        plan = (learning or {}).get(stage)
        found.append(_out_of_equilibrium(stage, gap, last, plan))
    return found


def _out_of_equilibrium(stage: str, gap: float, row: Mapping[str, Any], plan: LearningSettings | None) -> str:
    time = float(row.get("relaxation_time") or SLOW_SWEEPS)
    moves = (
        f"with the weights held still their mean free energy {'rises' if gap > 0 else 'falls'} by {abs(gap):.1f} nats"
    )
    raised = "more sweeps per update" if plan is None else f"k={plan.k} -> k={suggested_k(plan.k, time)}"
    if plan is not None and plan.learning == "cd":
        return (
            f"The chains of contrastive divergence in {stage} stop far from the model ({moves}): its likelihood and "
            f"samples are worse than its features. Use persistent chains (learning: pcd), or {raised}."
        )
    return (
        f"The chains of {stage} mix too slowly for learning and are out of equilibrium: {moves}. Use {raised}, more "
        "weight decay, or a learning rate that falls lower at the end."
    )


def diagnosis_advice(found: ChainDiagnosis, plan: LearningSettings | None = None) -> list[str]:
    """Whether chains of the finished model meet and forget; `plan` is how the layer that they run in learned."""
    time = found.relaxation
    raised = ""
    if plan is not None and plan.learning != "exact" and float(time) > SLOW_UPDATES * plan.k:
        raised = f", and learning more sweeps per update (k={plan.k} -> k={suggested_k(plan.k, float(time))})"
    if found.worst_r_hat > AGREED:
        return [
            f"Chains from data and chains from independent units do not meet{_apart(found.start_gap)}: R-hat is "
            f"{found.worst_r_hat:.2f}, where 1 is agreement. Samples and log-likelihoods of this model cannot be "
            f"trusted yet. Sampling needs more steps{raised}."
        ]
    if float(time) <= SLOW_SWEEPS:
        return []
    at_least = "at least " if time.kind == "lower_bound" else ""
    return [
        f"The chains mix slowly: they need {at_least}{float(time):.0f} sweeps to forget (relaxation time). Sampling "
        f"needs ten times as many steps{raised}."
    ]


def _apart(gap: Bound | None) -> str:
    if gap is None or abs(float(gap)) <= FEWEST_ERRORS * gap.stderr:
        return ""
    return f" (their mean free energies stay {abs(float(gap)):.1f} nats apart)"


def comparison_advice(found: Comparison) -> list[str]:
    """Whether chains keep away from clusters of the data, or have other moments than the data."""
    if found.missed:
        n = len(found.shares)
        return [
            f"The chains hardly visit {found.missed} of {n} clusters of the data. Where chains mix, the model has lost "
            "them: learn for longer, with more chains or hidden units. Where they do not mix, cure that first."
        ]
    far = {"means": found.means, "pairwise covariances": found.covariances, "shares of the clusters": found.occupancy}
    names = [name for name, d in far.items() if d.excess > FAR and d.value > TWICE * d.floor]
    if not names:
        return []
    worst = max(far[name].value / max(far[name].floor, 1e-12) for name in names)
    return [
        f"The chains' {' and '.join(names)} are further from the data's than sampling explains (up to {worst:.1f} "
        "times the distance of held-out cases). Learn for longer, or with a lower learning rate at the end."
    ]


def copying_advice(results: Sequence[Result], model: str | None = None) -> list[str]:
    """Whether samples lie nearer to training cases than to held-out ones, or apart from both (adversarial accuracy)."""
    rows = {row.quantity: row for row in results if row.quantity.startswith("AA_") and model in (None, row.model)}
    training, held_out = (rows.get(f"AA_truth, {which} cases") for which in ("training", "held-out"))
    apart = rows.get("AA_syn, held-out cases")
    if training is None or held_out is None or training.value is None or held_out.value is None:
        return []
    error = ((training.stderr or 0.0) ** 2 + (held_out.stderr or 0.0) ** 2) ** 0.5
    if held_out.value - training.value > FEWEST_ERRORS * error:
        return [
            f"Samples lie nearer to training cases than to held-out ones (adversarial accuracy {training.value:.0f}% "
            f"and {held_out.value:.0f}%, where 50% is ideal): training cases were learned by heart. Stop earlier, or "
            "use more weight decay or fewer hidden units."
        ]
    if apart is not None and apart.value is not None and apart.value > APART:
        return [
            f"Samples are easily told from held-out cases (adversarial accuracy {apart.value:.0f}%, where 50% is "
            "ideal). Learn for longer, or draw with more steps."
        ]
    return []
