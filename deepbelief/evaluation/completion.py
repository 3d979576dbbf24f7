"""How well a model fills in what is hidden, against the training mean and the nearest neighbours on the known part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check, check_choice, check_count
from deepbelief.evaluation.measured import mean_result, to_numpy
from deepbelief.protocols import Completer
from deepbelief.types import Result

Loss = Literal["auto", "log_loss", "squared_error"]
CLIP = 1e-3  # a probability of exactly 0 or 1, as neighbours give, would cost infinitely much when it is wrong
NAMES = {
    "log_loss": (f"completion log-loss (probabilities clipped to [{CLIP:g}, {1 - CLIP:g}])", "nats per hidden entry"),
    "squared_error": ("completion squared error", "per hidden entry"),
}


def completion_results(
    model: Completer,
    x: Tensor,
    known: Tensor,
    *,
    train: Tensor,
    data: str,
    model_name: str,
    generator: torch.Generator,
    loss: Loss = "auto",
    k: int = 10,
    chunk: int = 500,
) -> list[Result]:
    """The mean loss per hidden entry of the model's completions of `x`, of the training mean and of `k` neighbours.

    `known` (features,) or (cases, features) is True where an entry is given. ``log_loss`` reads completions of 0/1 data
    (or of -1/+1 spins) as probabilities, clipped to [0.001, 0.999] for all three alike; ``squared_error`` serves real
    data; "auto" takes the first for Bernoulli and spin units, and for models without units when `x` lies in [0, 1].
    """
    check(isinstance(model, Completer), f"model must have complete(x, known). Got {type(model).__name__}.")
    check_choice("loss", loss, ["auto", *NAMES])
    check_count("k", k, low=1, high=len(train))
    known = _check_known(x, known, train)
    kind = _unit_kind(model, x)
    chosen = loss if loss != "auto" else "log_loss" if kind in ("bernoulli", "spin") else "squared_error"
    measure = hidden_log_loss if chosen == "log_loss" else hidden_squared_error
    low = -1.0 if kind == "spin" else 0.0
    rescale: Callable[[Tensor], Tensor] = (lambda t: (t - low) / (1 - low)) if chosen == "log_loss" else lambda t: t
    mean = train.double().mean(0).to(x)
    losses: dict[str, list[Tensor]] = {model_name: [], "training mean": [], f"{k} nearest neighbours": []}
    for rows, mask in zip(x.split(chunk), known.split(chunk), strict=True):
        hidden_away = torch.where(mask, rows, mean)  # the model must not see what it is asked for
        completed = (
            model.complete(hidden_away, mask, generator=generator),
            mean.expand_as(rows),
            neighbour_completion(rows, mask, train, k),
        )
        for name, guess in zip(losses, completed, strict=True):
            losses[name].append(measure(rescale(rows), rescale(guess), mask))
    quantity, unit = NAMES[chosen]
    return [
        mean_result(quantity, to_numpy(torch.cat(values)), unit=unit, data=data, model=name)
        for name, values in losses.items()
    ]


def hidden_log_loss(x: Tensor, probability: Tensor, known: Tensor) -> Tensor:
    """``-(x log p + (1 - x) log(1 - p))``, averaged over each case's hidden entries: (cases,)."""
    p = probability.double().clamp(CLIP, 1 - CLIP)
    return _hidden_mean(-(x * p.log() + (1 - x) * torch.log1p(-p)), known)


def hidden_squared_error(x: Tensor, guess: Tensor, known: Tensor) -> Tensor:
    """The squared error, averaged over each case's hidden entries: (cases,)."""
    return _hidden_mean((x.double() - guess.double()).square(), known)


def _hidden_mean(values: Tensor, known: Tensor) -> Tensor:
    hidden = (~known).double()
    return (values * hidden).sum(1) / hidden.sum(1)


def neighbour_completion(x: Tensor, known: Tensor, train: Tensor, k: int) -> Tensor:
    """The mean of the `k` training cases that are nearest on the known entries: (cases, features), known ones kept.

    The masked distance ``sum_i known_i (x_i - t_i)^2`` is three matrix products for any mask per case.
    """
    t, mask = train.to(x), known.to(x)
    masked = x * mask
    distance = (masked * x).sum(1, keepdim=True) - 2 * masked @ t.T + mask @ (t * t).T
    nearest = distance.topk(k, dim=1, largest=False).indices
    return torch.where(known, x, t[nearest].mean(1))


def _check_known(x: Tensor, known: Tensor, train: Tensor) -> Tensor:
    if x.ndim != 2 or train.ndim != 2 or x.shape[1] != train.shape[1] or len(x) == 0:
        raise InvalidDataError(
            "x and train must have shape (cases, features), with the same features. "
            f"Got {tuple(x.shape)} and {tuple(train.shape)}."
        )
    if known.shape not in (x.shape, x.shape[1:]):
        raise InvalidDataError(
            f"known must have shape {tuple(x.shape)} or ({x.shape[1]},), as x has. Got {tuple(known.shape)}."
        )
    known = known.bool().expand_as(x)
    if known.all(1).any():
        raise InvalidDataError("known must hide at least 1 entry of every case. Got a case that is known whole.")
    return known


def _unit_kind(model: Any, x: Tensor) -> str:
    kind = getattr(getattr(model, "visible", None), "kind", None)
    in_unit_interval = bool(((x >= 0) & (x <= 1)).all())
    return kind or ("bernoulli" if in_unit_interval else "gaussian")
