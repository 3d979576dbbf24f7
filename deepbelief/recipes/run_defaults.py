"""Settings for data that nobody has described: chosen by looking at them, each choice with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepbelief.data.files import Table, read_file
from deepbelief.data.registry import SETS
from deepbelief.data.sets import load_set
from deepbelief.estimators.effort import open_batch_size, rate_of
from deepbelief.recipes.run_data import grey_scale
from deepbelief.recipes.settings import DataSettings, RunSettings

ROWS_SEEN = 20_000
SMALL_PRODUCT = 5_000_000  # multiplications, well under a millisecond for one thread
UPDATES, FINE_TUNING_UPDATES = 10_000, 4_000
SMALLEST_LAYER, LARGEST_LAYER = 32, 500


def read_table(data: DataSettings) -> Table:
    """A named set's training cases, or a person's own file.

    Raises what reading the file raises.
    """
    if data.name in SETS and not Path(data.name).exists():
        found = load_set(data.name, split="train", data_dir=data.data_dir, download=data.download)
        return Table(found.x, found.y, None, found.class_names, found.image_shape, found.scale)
    return read_file(data.name, label=data.label, key=data.key, target=data.target)


def describe_table(table: Table) -> dict[str, Any]:
    """What a table holds, in a few words."""
    first = torch.as_tensor(table.x[:ROWS_SEEN])
    facts: dict[str, Any] = {"cases": len(table), "columns": first[0].numel(), "type": str(table.x.dtype)}
    facts |= {"smallest": first.min().item(), "largest": first.max().item()}
    if table.image_shape is not None:
        facts["picture"] = " x ".join(map(str, table.image_shape))
    if table.y is not None and table.y.is_floating_point():
        facts["labels"] = "values"
    elif table.y is not None:
        known = table.y[table.y >= 0]
        facts |= {"labelled cases": len(known), "classes": len(known.unique())}
    return facts


def settings_for(
    data: DataSettings,
    table: Table | None = None,
    *,
    layers: Sequence[int] | None = None,
    epochs: int | None = None,
) -> tuple[RunSettings, list[str]]:
    """Settings for a named set or a person's own file (`table`, where it is read already), and a reason for each.

    `layers` and `epochs` of each layer are taken where they are given.
    """
    table = read_table(data) if table is None else table
    if data.target == "auto" and _looks_like_values(table):
        data = replace(data, target="value")
        table = read_table(data)
    n, d = len(table), int(torch.Size(table.x.shape[1:]).numel())
    visible, how, reasons = _visible(table)
    model, sizes = _layers(visible, d, layers)
    batch_size = open_batch_size(n)
    learning = _learning(visible, epochs or _between(UPDATES * batch_size / n, 5, 400), len(model["layers"]), d)
    first = learning[0]
    steps = f"{_counted(first['epochs'], 'epoch')} of {_counted(-(-n // batch_size), 'step')} for each layer"
    reasons += [sizes, f"{steps}, at a learning rate of {first['learning_rate']}."]
    values: dict[str, Any] = {"model": model, "batch_size": batch_size, "learning": learning}
    values["threads"] = threads_for(batch_size, [d, *model["layers"]])
    values["checkpoint_every"] = max(1, first["epochs"] // 50)
    values["evaluation"] = {"watch_every": max(1, first["epochs"] // 20)}
    if table.y is not None:
        values["fine_tuning"], sentence = _fine_tuning(table.y)
        reasons.append(sentence)
    return RunSettings.from_dict(values).but(data={**vars(data), **how}), reasons


def _learning(visible: str, epochs: int, n_layers: int, n_columns: int) -> list[dict[str, Any]]:
    """One plan for all layers, or one for each where the first has a rate of its own."""
    rates = [rate_of(visible, n_columns), *[rate_of("bernoulli", n_columns)] * (n_layers - 1)]
    rates = rates[:1] if len(set(rates)) == 1 else rates
    return [{"epochs": epochs, "learning_rate": rate, "averaging": 0.999} for rate in rates]


def _visible(table: Table) -> tuple[str, dict[str, Any], list[str]]:
    """The kind of the visible units, what the data need for it, and why."""
    rows = table.x[:ROWS_SEEN]
    x = (rows if isinstance(rows, Tensor) else torch.from_numpy(rows[:].copy())).float() * (grey_scale(table) or 1.0)
    low, high, whole = x.min().item(), x.max().item(), bool((x == x.round()).all())
    if set(x.unique()[:3].tolist()) == {-1.0, 1.0}:
        return "spin", {"preparation": "unit"}, ["All entries are -1 or 1, so the visible units are spins."]
    if low >= 0 and high <= 1 and whole:
        return "bernoulli", {}, ["All entries are 0 or 1, so the visible units are Bernoulli."]
    if low >= 0 and high <= 1 + 1e-6:
        reason = "All entries lie in [0, 1], so the visible units are Bernoulli, and every batch draws its bits anew."
        return "bernoulli", {"binarization": "stochastic"}, [reason]
    reason = f"Entries range from {low:.4g} to {high:.4g}, so the columns are standardized and the units Gaussian."
    return "gaussian", {"preparation": "standardize"}, [reason]


def _layers(visible: str, d: int, wanted: Sequence[int] | None) -> tuple[dict[str, Any], str]:
    sizes = list(wanted or [_between(2 * d, SMALLEST_LAYER, LARGEST_LAYER)] * 2)
    grows = all(above >= below for below, above in zip([d, *sizes], sizes[1:], strict=False))
    tied = visible == "bernoulli" and len(sizes) > 1 and grows
    tail = ", each above the first starting as the transpose of the one below" if tied else ""
    each = f"{', '.join(map(str, sizes))} unit{'' if sizes == [1] else 's'}"
    words = f"{_counted(d, 'column')} {'gets' if d == 1 else 'get'} {_counted(len(sizes), 'layer')} of {each}"
    return {"visible": visible, "layers": sizes, "tied": tied}, f"{words}{tail}."


def threads_for(batch_size: int, sizes: Sequence[int]) -> int | None:
    """1 where the products are too small to share between threads, else None."""
    largest = max(batch_size * below * above for below, above in pairwise(sizes))
    return 1 if largest < SMALL_PRODUCT else None


def _looks_like_values(table: Table) -> bool:
    """Whole numbers that hardly repeat, such as ages or prices, are no classes."""
    names = table.class_names or []
    if table.y is None or table.y.is_floating_point() or len(names) <= 20:
        return False
    numbers = all(name.lstrip("-").isdigit() for name in names)
    return numbers and len(names) > 0.1 * len(table)


def _fine_tuning(y: Tensor) -> tuple[dict[str, Any], str]:
    is_value = y.is_floating_point()
    n = len(y) if is_value else int((y >= 0).sum())
    batch_size = _between(n / 20, 10, 100)
    epochs = _between(FINE_TUNING_UPDATES * batch_size / max(n, 1), 10, 100)
    plan = {"epochs": epochs, "batch_size": batch_size, "learning_rate": 0.005, "dropout": 0.2}
    task = "values (say --target class if not), so it learns to predict them"
    if not is_value:
        task = f"of {_counted(len(y[y >= 0].unique()), 'class', 'classes')}, so it learns them"
    return plan, f"{_counted(n, 'label')} {'is' if n == 1 else 'are'} {task} by back-propagation for {epochs} epochs."


def _counted(n: int, one: str, more: str = "") -> str:
    """A number with its noun: "1 column", "64 columns"."""
    return f"{n:,} {one if n == 1 else more or one + 's'}"


def _between(value: float, low: int, high: int) -> int:
    return int(min(max(round(value), low), high))


def demo_settings(
    data: str = "digits", *, quick: bool = False, data_dir: str | None = None, seed: int = 0
) -> RunSettings:
    """The run of ``deepbelief demo``: bits drawn anew while layers learn, grey levels for fine-tuning."""
    evaluation: dict[str, Any] = {"betas": 3000, "bound_samples": 30, "watch_every": 2, "samples": 0}
    if data == "mnist":
        sizes, batch_size = [500, 784], 100
        lower, upper = {"epochs": 6, "learning_rate": 0.05}, {"epochs": 4, "learning_rate": 0.02}
        tuning: dict[str, Any] = {"epochs": 6, "dropout": 0.2}
        evaluation |= {"betas": 1000, "bound_samples": 5, "features": False}
    else:
        sizes, batch_size = [200, 200], 20
        lower, upper = {"epochs": 60, "learning_rate": 0.2}, {"epochs": 60, "learning_rate": 0.05, "k": 2}
        tuning = {"epochs": 100, "learning_rate": 0.02, "batch_size": 50, "dropout": 0.5}
    if quick:
        lower, upper, tuning = ({**plan, "epochs": 2} for plan in (lower, upper, tuning))
        evaluation |= {"betas": 100, "burn_in": 50, "chains": 20, "features": False}
    return RunSettings.from_dict(
        {
            "title": f"A deep belief network on {data}",
            "data": {"name": data, "binarization": "stochastic", "data_dir": data_dir},
            "model": {"layers": sizes, "tied": True},
            "batch_size": batch_size,
            "learning": [{**plan, "averaging": 0.999} for plan in (lower, upper)],
            "fine_tuning": tuning,
            "evaluation": evaluation,
            "threads": 1 if data == "digits" else None,
            "seed": seed,
        }
    )
