"""How cases are shown: as tiles when they are images, as heat maps and named bars when they are rows of a table.

Both views have the same methods, so that the sections do not ask what the data are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from markupsafe import Markup

from deepbelief.evaluation.gallery import Gallery
from deepbelief.report.blocks import Panel, Panels, Strips
from deepbelief.report.charts import bars, heat_map
from deepbelief.report.tiles import grey_range, grey_tiles, signed_tiles

MOST_UNITS, MOST_BAR_UNITS, MOST_SAMPLES, MOST_ROWS = 100, 12, 100, 40

Row = tuple[str, np.ndarray, np.ndarray | None]


class View(Protocol):
    """`many` cases in one picture, `rows` of cases to compare, one `case`, and the weights of hidden units.

    `hidden` is how a value that was not given looks, `chain` how a chain is read, `one` how one
    case is shown.
    """

    hidden: str
    chain: str
    one: str

    def many(self, cases: np.ndarray, alt: str) -> Panels: ...

    def rows(self, rows: Sequence[Row], columns: Sequence[str] = ()) -> Strips | Panels: ...

    def case(self, case: np.ndarray, alt: str) -> Markup: ...

    def weights(self, weights: np.ndarray, name: str) -> Panels: ...

    def weights_lead(self) -> str: ...


def make_view(gallery: Gallery) -> View:
    """The view that suits the gallery's data."""
    cases = [array for name, array in gallery.cases().items() if not name.startswith(("filters", "completions.known"))]
    if gallery.image_shape is not None:
        limits = grey_range(cases[0]) if cases else (0.0, 1.0)
        return ImageView(gallery.image_shape, limits, gallery.shared_filter_scale)
    return TableView(gallery.feature_names, np.concatenate([_flat(array) for array in cases]) if cases else None)


class ImageView:
    """Cases are pictures; one grey scale for all of them."""

    hidden = "tinted"
    one = ""
    chain = "Each row is one Markov chain, from its start on the left; the numbers count Gibbs steps."

    def __init__(self, image_shape: tuple[int, ...], limits: tuple[float, float], shared: bool = False) -> None:
        self.image_shape, self.limits, self.shared = image_shape, limits, shared

    def many(self, cases: np.ndarray, alt: str) -> Panels:
        """A sheet of tiles."""
        return Panels([Panel(grey_tiles(cases[:MOST_SAMPLES], self.image_shape, alt, limits=self.limits))], width=900)

    def rows(self, rows: Sequence[Row], columns: Sequence[str] = ()) -> Strips | Panels:
        """A strip of tiles per row."""
        strips = [(label, self._strip(cases, known, label)) for label, cases, known in rows]
        return Strips(strips, columns)

    def case(self, case: np.ndarray, alt: str) -> Markup:
        """One tile."""
        return grey_tiles(case[None], self.image_shape, alt, limits=self.limits, columns=1, tile_width=110)

    def weights(self, weights: np.ndarray, name: str) -> Panels:
        """A tile of weights per unit."""
        alt = f"Weights of {min(len(weights), MOST_UNITS)} units of {name}, one tile each"
        return Panels([Panel(signed_tiles(weights[:MOST_UNITS], self.image_shape, alt, shared=self.shared))], width=900)

    def weights_lead(self) -> str:
        """What a tile of weights is."""
        colours = "red pixels excite the unit, blue ones inhibit it, white ones do not matter"
        if len(self.image_shape) == 3 and 3 in (self.image_shape[0], self.image_shape[2]):
            colours = "each colour by itself, grey pixels do not matter"
        scale = "A layer's tiles share one scale." if self.shared else "Every tile has its own scale."
        return (
            f"Each tile is one hidden unit's weights: {colours}. {scale} Strokes and spots are features; noise is a "
            "unit that has learned nothing yet."
        )

    def _strip(self, cases: np.ndarray, known: np.ndarray | None, alt: str) -> Markup:
        return grey_tiles(cases, self.image_shape, alt, limits=self.limits, known=known, columns=len(cases))


class TableView:
    """Cases are rows of named columns; each column is coloured from its smallest to its largest value."""

    hidden = "left empty"
    one = "The bars are the columns where a case is most unusual, from -1 (smallest value) to 1 (largest)."
    chain = "Each picture is one Markov chain, from its start at the top; the numbers count Gibbs steps."

    def __init__(self, feature_names: Sequence[str] | None, reference: np.ndarray | None) -> None:
        self.names = feature_names
        self.low = None if reference is None else np.nanmin(reference, axis=0)
        self.span = None if reference is None else np.maximum(np.nanmax(reference, axis=0) - self.low, 1e-12)

    def many(self, cases: np.ndarray, alt: str) -> Panels:
        """A heat map with one row per case."""
        return Panels([Panel(self._map(cases[:MOST_ROWS], alt))], width=900, lead=self._scale_note())

    def rows(self, rows: Sequence[Row], columns: Sequence[str] = ()) -> Strips | Panels:
        """A heat map per row of cases; what is not known stays empty."""
        panels = []
        for label, cases, known in rows:
            shown = cases if known is None else np.where(known, cases, np.nan)
            panels.append(Panel(self._map(shown[:MOST_ROWS], label, columns or None, 3.7), label))
        return Panels(panels, width=330, lead=self._scale_note())

    def case(self, case: np.ndarray, alt: str) -> Markup:
        """One row as bars of its most unusual columns, between -1 (smallest) and 1 (largest)."""
        return bars(2 * self._scaled(case[None])[0] - 1, self._names(len(case)), alt)

    def weights(self, weights: np.ndarray, name: str) -> Panels:
        """The strongest columns of the first units, by name."""
        names = self._names(weights.shape[1])
        panels = [
            Panel(bars(unit, names, f"Strongest weights of unit {i} of {name}"), f"unit {i}")
            for i, unit in enumerate(weights[:MOST_BAR_UNITS])
        ]
        return Panels(panels, width=250)

    def weights_lead(self) -> str:
        """What the bars are."""
        return (
            "Each panel is one hidden unit: the columns with the largest weights, by name. Bars to the right (blue) "
            "excite the unit, bars to the left (orange) inhibit it."
        )

    def _map(self, cases: np.ndarray, alt: str, row_names: Sequence[str] | None = None, width: float = 7.6) -> Markup:
        scaled = self._scaled(cases)
        return heat_map(scaled, alt, limits=(0, 1), column_names=self.names, row_names=row_names, width=width)

    def _scaled(self, cases: np.ndarray) -> np.ndarray:
        return cases if self.low is None else (cases - self.low) / self.span

    def _names(self, n: int) -> Sequence[str]:
        return self.names or [f"column {i}" for i in range(n)]

    def _scale_note(self) -> str:
        return "One row per case, one column per feature; dark is a feature's smallest value, bright its largest."


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1]).astype(np.float64)
