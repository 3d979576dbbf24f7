"""Sentences of advice: what a trained model shows that its owner may want to change. Silence is good news.

The limits are rules of thumb (Hinton 2010, "A practical guide to training restricted Boltzmann machines").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from deepbelief.belief.stack import BeliefStack
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.evaluation.chain_advice import comparison_advice, copying_advice, diagnosis_advice, learning_advice
from deepbelief.evaluation.chain_data import Comparison
from deepbelief.evaluation.chains import ChainDiagnosis
from deepbelief.evaluation.filters import unit_inputs
from deepbelief.types import Bound, Result
from deepbelief.units.bernoulli import Bernoulli

MOST_OVERLAP, MOST_SATURATED, MOST_IDLE = 0.1, 0.95, 0.2
WIDEST_BRACKET, SMALLEST_GAP, SMALLEST_FALL, SMALLEST_GAIN = 1.0, 1.0, 0.5, 0.5  # nats


def give_advice(
    model: Any,
    x: Tensor,
    frames: Tensor | None = None,
    steps: Sequence[int] = (),
    bounds: Mapping[str, Bound] | None = None,
    histories: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    baseline: Bound | None = None,
    *,
    learning: Mapping[str, LearningSettings] | None = None,
    diagnosis: ChainDiagnosis | None = None,
    comparison: Comparison | None = None,
    results: Sequence[Result] = (),
) -> list[str]:
    """All sentences for a model, the cases `x`, the frames of its chains, its bounds and its training histories.

    `baseline` is the log-likelihood of the same cases under independent units; `learning` holds the settings by stage,
    those of the layer that chains run in last; a `diagnosis` of chains takes the place of their frames; adversarial
    accuracies are looked for in `results`.
    """
    found = [] if baseline is None else progress_advice(bounds or {}, baseline)
    found += learning_advice(histories or {}, learning)
    if diagnosis is not None:
        plans = list((learning or {}).values())
        found += diagnosis_advice(diagnosis, plans[-1] if plans else None)
    elif frames is not None:
        found += mixing_advice(frames, steps)
    found += [] if comparison is None else comparison_advice(comparison)
    found += unit_advice(model, x)
    found += bound_advice(bounds or {})
    return found + overfitting_advice(histories or {}) + copying_advice(results)


def progress_advice(bounds: Mapping[str, Bound], baseline: Bound) -> list[str]:
    """Whether learning got anywhere: the best bound against independent units."""
    if not bounds or max(map(float, bounds.values())) > float(baseline) + SMALLEST_GAIN:
        return []
    return [
        f"The model is hardly better than independent units ({float(baseline):.1f} nats per case): learning has not "
        "left its first plateau. Use more epochs, a higher learning rate, or smaller batches."
    ]


def chain_overlap(first: Tensor, last: Tensor) -> tuple[float, float]:
    """How much chains resemble their own start more than the starts of others, with its standard error.

    The mean cosine between centred start and end of each chain, less the mean over pairs of different chains: 1 for
    chains that did not move, 0 for chains that forgot. (n, d), (n, d) -> 2 numbers.
    """
    a, b = (torch.nn.functional.normalize(t.double() - t.double().mean(0), dim=1) for t in (first, last))
    cosines = a @ b.T
    n = len(a)
    own = cosines.diagonal()
    others = (cosines.sum(1) - own) / (n - 1)
    difference = own - others
    return difference.mean().item(), (difference.std() / n**0.5).item()


def mixing_advice(frames: Tensor, steps: Sequence[int]) -> list[str]:
    """Whether chains (chains, times, features) still remember their starting cases at the end."""
    if len(frames) < 3:
        return []
    overlap, error = chain_overlap(frames[:, 0], frames[:, -1])
    if overlap - 3 * error <= MOST_OVERLAP:
        return []
    return [
        f"The chains mix slowly: after {steps[-1]} Gibbs steps they still resemble their own starting cases (overlap "
        f"{overlap:.2f}, where 0 is forgotten and 1 unchanged). Samples need more steps, and learning more persistent "
        "chains or a lower learning rate."
    ]


@torch.no_grad()
def hidden_means(model: Any, x: Tensor) -> dict[int, Tensor]:
    """The means of the Bernoulli hidden units given the cases `x`, by layer from 1: (n, units) each.

    A stack's by its way up, a deep Boltzmann machine's by mean field, other models' by their one layer of codes.
    """
    if isinstance(model, BeliefStack):
        layers = [rbm.hidden for rbm in model.layers]
        means = [units.mean(unit_inputs(model, x, i)) for i, units in enumerate(layers)]
    elif hasattr(model, "infer"):
        layers, means = model.units[1:], model.infer(x).means[1:]
    elif getattr(model, "hidden", None) is not None:
        layers, means = [model.hidden], [model.encode(x)]
    else:
        return {}
    pairs = enumerate(zip(layers, means, strict=True), start=1)
    return {number: mean for number, (units, mean) in pairs if isinstance(units, Bernoulli)}


def unit_advice(model: Any, x: Tensor) -> list[str]:
    """Whether many hidden units of a layer are always on or off, or are never between."""
    found = []
    for number, mean in hidden_means(model, x).items():
        idle = ((mean < 0.01).all(0) | (mean > 0.99).all(0)).double().mean().item()
        saturated = ((mean - 0.5).abs() > 0.49).double().mean().item()
        if idle > MOST_IDLE:
            found.append(
                f"{idle:.0%} of the hidden units of layer {number} never change from case to case. Use fewer units, "
                "a sparsity target, or a lower learning rate."
            )
        elif saturated > MOST_SATURATED:
            found.append(
                f"The hidden units of layer {number} are saturated: {saturated:.0%} of their means lie within 1% of "
                "0 or 1. Use more weight decay or a lower learning rate."
            )
    return found


def bound_advice(bounds: Mapping[str, Bound]) -> list[str]:
    """Whether annealing left a wide bracket, and whether a further layer lost instead of gained."""
    found = []
    means = {name: bound.mean() for name, bound in bounds.items()}
    for name, bound in means.items():
        if bound.low is not None and bound.high is not None and bound.high - bound.low > WIDEST_BRACKET:
            found.append(
                f"The log-likelihood of {name} is uncertain by {bound.high - bound.low:.1f} nats: the two ends of "
                "log Z disagree. Use more temperatures before comparing it."
            )
    for (below, first), (above, second) in pairwise(means.items()):
        errors = SMALLEST_FALL + 3 * (first.stderr + second.stderr)
        low_of_first, high_of_second = (_end(first, "low"), _end(second, "high"))
        if high_of_second + errors < low_of_first:
            found.append(
                f"The bound of {above} lies {low_of_first - high_of_second:.1f} nats below that of {below}. "
                "The layer may need longer learning, more units, or a start from the layer below (tied=True); a bound "
                "may also fall while the model gets better."
            )
    return found


def _end(bound: Bound, end: str) -> float:
    value = getattr(bound, end)
    return float(bound) if value is None else value


def overfitting_advice(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Whether the gap of free energies between held-out and training cases kept growing in the second half."""
    found = []
    for stage, rows in histories.items():
        names = dict.fromkeys(name for row in rows for name in row if name.split(".")[-1] == "free_energy_gap")
        for name in names:
            gaps = [float(row[name]) for row in rows if row.get(name) is not None]
            middle, last = gaps[len(gaps) // 2], gaps[-1]
            if len(gaps) >= 4 and last > SMALLEST_GAP and last > 1.5 * max(middle, 0.0):
                found.append(
                    f"{stage} starts to learn its training cases by heart: the free-energy gap between held-out and "
                    f"training cases grew from {middle:.1f} to {last:.1f} nats in the second half. Stop earlier, or "
                    "use more weight decay."
                )
    return found
