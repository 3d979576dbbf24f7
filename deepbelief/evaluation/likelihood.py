"""Log-likelihoods as rows of results: what each number is, how it brackets the truth, and what a trivial model reaches.

All are averages over test cases in nats. Two errors must not be confused: ``stderr`` is the error of the *method* (0
for exact numbers, Monte-Carlo error of log Z otherwise); the spread over test cases has a row of its own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.stack import BeliefStack
from deepbelief.energy.partition.choose import SCHEDULES
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.errors import InvalidDataError, check, check_choice, check_count
from deepbelief.evaluation.measured import standard_error
from deepbelief.protocols import Density
from deepbelief.types import Bound, Kind, Result
from deepbelief.units.base import Units

CHUNK = 1000  # cases at a time
OPPOSITE: dict[Kind, Kind] = {"lower_bound": "upper_bound", "upper_bound": "lower_bound"}
LIKELIHOOD, FORWARD, REVERSE = "test log-likelihood", " (forward AIS)", " (reverse AIS)"
LEFT, RIGHT = " (left sum of tempering)", " (right sum of tempering)"


def likelihood_results(
    model: Density,
    x: Tensor,
    *,
    data: str,
    model_name: str,
    generator: torch.Generator,
    log_z: Bound | None = None,
    baselines: bool = True,
    train: Tensor | None = None,
    n_chains: int = 100,
    betas: int = 10_000,
    chunk: int = CHUNK,
) -> list[Result]:
    """The mean log-likelihood of `x` (cases, features) under `model` with all that is needed to trust it.

    Rows: the number itself; where log Z was annealed, the two ends that forward and reverse annealing give (forward
    flatters: its log Z is too low on average); the spread over cases; bits per dimension for discrete data; log Z. With
    `train`, the same for independent units with the training cases' moments, which any model should beat. `log_z`
    spares a second estimate; without it, energy models get one with `n_chains` and `betas` (or more of them where the
    bracket is wide, see `log_z`), whose reverse chains start at `x`. The lower end of log Z is called forward: should
    the two cross, they differ by noise alone. Where tempering gave the narrower bracket, its ends are named so.
    """
    check(isinstance(model, Density), f"model must have log_likelihood(x). Got {type(model).__name__}, which has none.")
    units = getattr(model, "visible", None)
    if isinstance(units, Units):
        units.check_shape(x, "x")
        check_states(units, x)
    if log_z is None and undirected_part(model) is not None:
        log_z = model_log_z(model, x, n_chains=n_chains, betas=betas, generator=generator)
    score = chunked_log_likelihood(model, x, generator=generator, log_z=log_z, chunk=chunk)
    rows = _likelihood_rows(score, units, data, model_name)
    rows += [] if log_z is None else _log_z_rows(log_z, data, model_name)
    if baselines and train is not None and isinstance(units, Units):
        independent = independent_log_likelihood(units, train, x)
        rows += _likelihood_rows(independent, units, data, "independent units with the training cases' moments")
    return rows


def layer_bounds(
    dbn: BeliefStack, x: Tensor, *, generator: torch.Generator, n_chains: int = 100, betas: int = 10_000
) -> dict[int, Bound]:
    """The log-likelihood (bound) per case of the DBN made of the first l layers, for l = 1 to all of them, by l.

    The first is the bottom RBM's own; what a further layer is worth shows as a rise from one to the next. Labels in the
    top RBM are summed out. Layers whose way up has weights of its own make no model without the top: there is only the
    whole.
    """
    check_states(dbn.visible, x)
    parts = [DBN(dbn.layers[:n]) for n in range(1, len(dbn.layers))] if isinstance(dbn, DBN) else []
    bounds = {}
    for part in [*parts, dbn]:
        log_z = model_log_z(part, x, n_chains=n_chains, betas=betas, generator=generator)
        bounds[len(part.layers)] = chunked_log_likelihood(part, x, generator=generator, log_z=log_z)
    return bounds


def undirected_part(model: Any) -> Any | None:
    """What has the log Z that `model` needs: the top of a stack, the model itself, or nothing."""
    part = getattr(model, "top", model)
    return part if hasattr(part, "free_energy_of_h") and hasattr(part, "base") else None


@torch.no_grad()
def model_log_z(
    model: Any, x: Tensor, *, n_chains: int, betas: int, generator: torch.Generator, schedule: str = "fixed"
) -> Bound:
    """log Z of `model`'s undirected part; reverse chains start at cases, whose modes forward runs may have missed.

    `schedule` says where the temperatures lie, as in `deepbelief.energy.partition.choose.log_z`.
    """
    check_count("n_chains", n_chains, low=2)
    check_choice("schedule", schedule, SCHEDULES)
    rows = torch.randint(len(x), (n_chains,), generator=generator, device=generator.device).to(x.device)
    start = top_states(model, x[rows], generator)
    part = undirected_part(model)
    options: dict[str, Any] = {"schedule": schedule, "samples": start, "generator": generator}
    return choose_log_z(part, n_chains=n_chains, betas=betas, **options)


@torch.no_grad()
def top_states(model: Any, x: Tensor, generator: torch.Generator) -> Tensor:
    """Visible states of `model`'s undirected part that belong to the cases `x`: draws going up, labels by posterior."""
    if not hasattr(model, "upward"):
        return x
    h = model.upward(x, n_layers=len(model.layers) - 1, sample=True, generator=generator)
    if not getattr(model, "n_classes", None):
        return h
    posterior = torch.softmax(-model.label_free_energies(h), 1)
    return torch.cat([h, model.top.visible.part(1).draw(posterior, posterior, generator)], 1)


def chunked_log_likelihood(
    model: Density, x: Tensor, *, generator: torch.Generator, log_z: Bound | None = None, chunk: int = CHUNK
) -> Bound:
    """``model.log_likelihood(x)`` in chunks of cases, joined: they share log Z's error, other noise averages out."""
    check_count("chunk", chunk, low=1)
    if len(x) == 0:
        raise InvalidDataError("x must hold at least 1 case. Got none.")
    options: dict[str, Any] = {"generator": generator}
    if log_z is not None and "log_z" in inspect.signature(model.log_likelihood).parameters:
        options["log_z"] = log_z
    parts = [model.log_likelihood(rows, **options) for rows in x.split(chunk)]
    weights = [len(rows) / len(x) for rows in x.split(chunk)]
    value = torch.cat([torch.as_tensor(part.value).double().reshape(-1) for part in parts])
    low, high = (_joined_end([getattr(part, end) for part in parts], weights) for end in ("low", "high"))
    error = _joined_error([part.stderr for part in parts], weights, log_z if "log_z" in options else None)
    return Bound(value, parts[0].kind, error, parts[0].method, low, high)


def _joined_end(ends: Sequence[float | None], weights: Sequence[float]) -> float | None:
    known = [end for end in ends if end is not None]
    return sum(w * e for w, e in zip(weights, known, strict=True)) if len(known) == len(ends) else None


def _joined_error(errors: Sequence[float], weights: Sequence[float], log_z: Bound | None) -> float:
    if log_z is None:  # whether chunks err together is not known, so they are taken to
        return sum(w * e for w, e in zip(weights, errors, strict=True))
    noise = sum(w * w * max(e * e - log_z.stderr**2, 0.0) for w, e in zip(weights, errors, strict=True))
    return math.sqrt(noise + log_z.stderr**2)


def check_states(units: Units, x: Tensor, name: str = "x") -> None:
    """Raise `InvalidDataError` unless `x` holds states of the units: a grey level has no probability under bits."""
    units.check_values(x, name)
    for piece, place in _kinds_in_row(units):
        part = x[:, place]
        off = part.abs() != 1 if piece.kind == "spin" else part != part.round()
        if piece.has_states and off.any():
            raise InvalidDataError(
                f"{name} must hold states of {piece.kind} units, for only those have a probability. "
                f"Got {part[off][0].item():g}. Binarize it first, or score units of another kind."
            )


def _kinds_in_row(units: Any) -> list[tuple[Units, slice]]:
    if hasattr(units, "slice_of"):
        return [(units.part(i), units.slice_of(i)) for i in range(len(units.sizes))]
    return [(units, slice(None))]


@torch.no_grad()
def independent_log_likelihood(units: Units, train: Tensor, x: Tensor) -> Bound:
    """The exact log-likelihood of `x` when every unit stands alone with the moments of `train`.

    Means of discrete units are kept within [0.001, 0.999], so that a pixel that is never on in training is possible.
    """
    alone = units.empty_like().double()
    alone.match_data(train.double())
    value = alone.log_prob(x.double(), torch.zeros_like(x, dtype=torch.float64))
    return Bound(value, "exact", method="independent units")


def _likelihood_rows(score: Bound, units: Units | None, data: str, model: str) -> list[Result]:
    row = _row_maker(data, model)
    cases = torch.as_tensor(score.value).double().reshape(-1)
    mean = score.mean()
    rows = [row(LIKELIHOOD, float(mean), mean.kind, mean.stderr)]
    if mean.low is not None and mean.high is not None and mean.kind != "exact":
        what = LIKELIHOOD if mean.kind == "estimate" else f"{LIKELIHOOD}, {mean.kind.replace('_', ' ')}"
        low, high = _ends(mean)
        rows.append(row(what + low, mean.high, "estimate", mean.stderr))
        rows.append(row(what + high, mean.low, "estimate", mean.stderr))
    spread = standard_error(cases.cpu().numpy())
    rows.append(row(f"{LIKELIHOOD}, standard error over cases", spread, "measured", None))
    if units is not None and units.bases is not None:
        nats = len(units.bases) * math.log(2)
        kind = OPPOSITE.get(mean.kind, mean.kind)
        rows.append(row("test bits per dimension", -float(mean) / nats, kind, mean.stderr / nats, "bits"))
    return rows


def _log_z_rows(log_z: Bound, data: str, model: str) -> list[Result]:
    row = _row_maker(data, model)
    rows = [row("log Z", float(log_z), log_z.kind, log_z.stderr)]
    if log_z.low is not None and log_z.high is not None:
        low, high = _ends(log_z)
        rows.append(row("log Z" + low, log_z.low, "estimate", log_z.stderr))
        rows.append(row("log Z" + high, log_z.high, "estimate", log_z.stderr))
    return rows


def _ends(bound: Bound) -> tuple[str, str]:
    """What the low and the high end of log Z are: of annealing, or of the tempering that stood in for it."""
    return (LEFT, RIGHT) if "parallel tempering" in bound.method else (FORWARD, REVERSE)


def _row_maker(data: str, model: str) -> Callable[..., Result]:
    def row(quantity: str, value: float, kind: Kind, stderr: float | None, unit: str = "nats") -> Result:
        return Result(quantity, value, kind, stderr, unit, data, model)

    return row
