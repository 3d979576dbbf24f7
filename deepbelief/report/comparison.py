"""The page of a comparison: tables of all families, bars with errors, and samples; one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

import deepbelief
from deepbelief.files import atomic_write_text
from deepbelief.report.numbers import format_error, format_number, kind_name
from deepbelief.report.page import page_environment, settings_text
from deepbelief.report.svg import INK, MUTED, SERIES, new_figure, number_charts, plain_axes, to_svg
from deepbelief.report.tiles import grey_range, grey_tiles
from deepbelief.types import Result

MISSING = "n/a"
NATS = "test log-likelihood"
TABLES: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    (
        "density",
        "Likelihood and completion",
        "Nats per test case, higher is better, each with its kind: bounds and estimates are not on one scale. "
        "Completion is the loss per hidden entry of the second half of a case (of a picture, the lower half): log-loss "
        "of bits, squared error of standardized columns; lower is better.",
        {NATS: "log-likelihood", "completion log-loss": "completion", "completion squared error": "completion"},
    ),
    (
        "quality",
        "Sample quality",
        "Held-out data are what a perfect sampler reaches; copies of training data show what learning by heart would. "
        "A pair accuracy of 50 % is ideal; C_T far below 0 means copies, far above 0 samples further off than data.",
        {
            "Frechet distance (FD)": "FD",
            "kernel distance (KID)": "KID",
            "precision": "precision",
            "recall": "recall",
            "density": "density",
            "coverage": "coverage",
            "two-sample pair accuracy": "pair accuracy %",
            "memorisation C_T": "C_T",
        },
    ),
    (
        "features",
        "Features",
        "Test accuracy in percent of simple classifiers on the codes, and agreement of clusters with classes.",
        {
            "linear probe accuracy": "linear probe",
            "linear probe accuracy, 10 labels per class": "10 labels a class",
            "linear probe accuracy, 1 labels per class": "1 label a class",
            "5-nearest-neighbour accuracy": "5 neighbours",
            "cluster agreement (adjusted mutual information)": "clusters",
        },
    ),
    (
        "cost",
        "Cost",
        "On the machine that made this page; memory is what training needed beyond what was in use before.",
        {
            "training time": "training s",
            "time to draw 1,000 samples": "1,000 samples s",
            "time to fill in 1,000 cases": "1,000 completions s",
            "peak memory of training": "memory MB",
            "parameters": "parameters",
            "passes over the data": "passes",
            "learning rate": "learning rate",
        },
    ),
)
CHARTED = (
    *(NATS, "completion log-loss", "completion squared error"),
    *("Frechet distance (FD)", "coverage", "linear probe accuracy", "training time"),
)


@dataclass(frozen=True)
class Cell:
    """One number of the table, or n/a."""

    value: str
    error: str = ""
    kind: str = ""

    @property
    def text(self) -> str:
        """The number with its error."""
        return f"{self.value} ± {self.error}" if self.error else self.value

    @property
    def kind_name(self) -> str:
        """The kind in words."""
        return kind_name(self.kind)


@dataclass(frozen=True)
class Row:
    """A family or a reference with its cells."""

    name: str
    cells: Sequence[Cell]
    reference: bool


@dataclass(frozen=True)
class Table:
    """One table of the page."""

    id: str
    title: str
    lead: str
    columns: Sequence[str]
    rows: Sequence[Row]
    charts: Sequence[tuple[str, Markup]] = field(default_factory=list)


def make_tables(results: Sequence[Result], models: Sequence[str], *, charts: bool = True) -> list[Table]:
    """The page's tables: families in their order, then the references that have some number there.

    A quantity that nobody has (accuracies without labels, pixels of a table) has no column.
    """
    others = [name for name in dict.fromkeys(row.model for row in results) if name not in models]
    tables = []
    for id_, title, lead, every in TABLES:
        quantities = {
            key: name for key, name in every.items() if any(find(results, m, key) for m in [*models, *others])
        }
        if not quantities:
            continue
        rows = []
        for model in [*models, *others]:
            found = [find(results, model, quantity) for quantity in quantities]
            if model in models or any(found):
                rows.append(Row(model, [_cell(row) for row in found], model not in models))
        drawn = [(quantities[name], _chart(results, rows, name)) for name in quantities if charts and name in CHARTED]
        tables.append(Table(id_, title, lead, list(quantities.values()), rows, drawn))
    return tables


def find(results: Sequence[Result], model: str, quantity: str) -> Result | None:
    """The row of that model and quantity; the clipping that a quantity's name tells in parentheses is left aside."""
    return next(
        (r for r in results if r.model == model and r.quantity.split(" (prob")[0] == quantity and r.value is not None),
        None,
    )


def _cell(row: Result | None) -> Cell:
    if row is None:
        return Cell(MISSING)
    kind = row.kind if row.quantity == NATS else ""
    return Cell(format_number(row.value, row.stderr), format_error(row.stderr), kind)


def _chart(results: Sequence[Result], rows: Sequence[Row], quantity: str) -> Markup:
    """A bar for each row that has the number, with its standard error."""
    found = [(row, find(results, row.name, quantity)) for row in rows]
    having = [(row, one) for row, one in found if one is not None and one.value is not None]
    figure = new_figure(3.4, 0.5 + 0.26 * max(1, len(having)))
    axes = plain_axes(figure, grid="x")
    for place, (row, one) in enumerate(having):
        shade = MUTED if row.reference else SERIES[0]
        value = float(one.value or 0.0)
        axes.plot(value, place, "o", color=shade, markersize=6)
        if one.stderr:
            axes.plot([value - 2 * one.stderr, value + 2 * one.stderr], [place, place], color=shade, linewidth=2)
    axes.set_yticks(range(len(having)), [row.name for row, _ in having], color=INK)
    axes.set_ylim(max(1, len(having)) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.locator_params(axis="x", nbins=5)
    return to_svg(figure, f"{quantity} of every family", width=460)


def render_comparison(
    results: Sequence[Result],
    samples: dict[str, np.ndarray],
    settings: dict[str, Any],
    facts: dict[str, Any],
    command: str,
) -> str:
    """The page as text; dots carry two standard errors to each side. `facts` are the name and size of the data."""
    models, shape, size = list(settings["models"]), facts["image_shape"], (facts["train"], facts["test"])
    pictures = [
        (name, grey_tiles(x, tuple(shape), f"Draws: {name}", limits=grey_range(x), columns=len(x), tile_width=44))
        for name, x in samples.items()
        if len(x) and shape is not None
    ]
    seeds = len(settings["seeds"])
    page = page_environment().get_template("compare.html.j2")
    text = page.render(
        title=f"{', '.join(models)} on {Path(settings['data']).name}",
        description=f"{size[0]:,} cases to learn from and {size[1]:,} new ones of {facts['name']}, the same for all, "
        f"as is the budget; {seeds} {'seeds' if seeds > 1 else 'seed'}. Numbers are means over seeds, ± joins "
        "the error over seeds and the measure's own; n/a where a family has no such number.",
        tables=make_tables(results, models),
        pictures=pictures,
        command=command,
        settings=settings_text(settings),
        version=deepbelief.__version__,
    )
    return number_charts(text).strip() + "\n"


def write_comparison(path: Path, *parts: Any) -> Path:
    """Write the page of `render_comparison` to `path` and return it."""
    atomic_write_text(path, render_comparison(*parts))
    return path
