"""Charts of numbers: learning curves, brackets of log-likelihoods, confusion matrices, maps of codes, bars, heat maps.

Every function takes plain numbers and returns an inline SVG element in the page's own colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from deepbelief.report.numbers import format_number
from deepbelief.report.svg import CARD, INK, LINE, MUTED, NEGATIVE, POSITIVE, SERIES, new_figure, plain_axes, to_svg
from deepbelief.types import Bound

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "^", "s", "D", "v", "P", "X")
MOST_COUNTED_CLASSES = 25


def curve(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_name: str, alt: str, *, colour: int = 0
) -> Markup:
    """One metric of one stage over training: name -> (positions, values); the second line on is dashed."""
    figure = new_figure(3.1, 2.0)
    axes = plain_axes(figure)
    for i, (name, (x, y)) in enumerate(lines.items()):
        marker = "o" if len(x) < 3 else ""
        style = ("-", "--", ":", "-.")[i % 4]
        shade = SERIES[colour % len(SERIES)]
        axes.plot(x, y, style, color=shade, linewidth=1.6, marker=marker, markersize=4, label=name)
    axes.set_xlabel(x_name)
    axes.margins(x=0.02, y=0.12)
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.locator_params(axis="y", nbins=5)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=7.5, labelcolor=MUTED, loc="best", handlelength=2.4)
    return to_svg(figure, alt, width=400)


def intervals(bounds: Mapping[str, Bound], x_name: str, alt: str) -> Markup:
    """One row per number: a dot with two standard errors, the bracket [low, high] behind it, an arrow for a bound."""
    figure = new_figure(5.8, 0.75 + 0.4 * len(bounds))
    axes = plain_axes(figure, grid="x")
    for row, bound in enumerate(bounds.values()):
        if np.isfinite(float(bound)):
            _interval(axes, row, bound)
        else:
            place = (0.02 if float(bound) < 0 else 0.98, row)
            axes.text(*place, format_number(float(bound)), color=INK, va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(bounds)), list(bounds), color=INK)
    axes.set_ylim(len(bounds) - 0.5, -0.65)
    axes.margins(x=0.12)
    axes.set_xlabel(x_name)
    return to_svg(figure, alt, width=720)


def _interval(axes: Axes, row: int, bound: Bound) -> None:
    value, shade = float(bound), SERIES[row % len(SERIES)]
    if bound.low is not None and bound.high is not None:
        axes.plot([bound.low, bound.high], [row, row], color=shade, linewidth=9, alpha=0.28, solid_capstyle="butt")
        axes.plot([bound.low, bound.high], [row, row], "|", color=shade, markersize=13, markeredgewidth=1.6)
    if np.isfinite(bound.stderr) and bound.stderr > 0:
        axes.plot([value - 2 * bound.stderr, value + 2 * bound.stderr], [row, row], color=shade, linewidth=2)
    axes.plot(value, row, {"lower_bound": ">", "upper_bound": "<"}.get(bound.kind, "o"), color=shade, markersize=8)
    text = axes.annotate(format_number(value, bound.stderr), (value, row), xytext=(0, 9), textcoords="offset points")
    text.set(color=INK, fontsize=8.5, ha="center")


def confusion(matrix: np.ndarray, names: Sequence[str], alt: str) -> Markup:
    """True classes down, predictions across: right cases in blue by their share of the row, errors in orange."""
    matrix = np.asarray(matrix, dtype=np.float64)
    names = [_short(name) for name in names]
    classes, room = len(matrix), 0.065 * max(map(len, names))
    size = min(6.6, 1.2 + 0.48 * len(matrix)) + room
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    worst = max(share[~np.eye(classes, dtype=bool)].max(initial=0), 1e-12)
    figure = new_figure(size, size)
    axes = plain_axes(figure, grid=None)
    for i, j in np.ndindex(classes, classes):
        strength = share[i, j] if i == j else 0.15 + 0.75 * share[i, j] / worst
        _cell(
            axes, i, j, float(matrix[i, j]), strength if matrix[i, j] else 0.0, i == j, classes <= MOST_COUNTED_CLASSES
        )
    axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5), aspect="equal")
    turned = 90 if max(map(len, names)) > 4 else 0
    step = max(1, round(classes / 40))
    axes.set_xticks(range(0, classes, step), names[::step], color=INK, rotation=turned)
    axes.set_yticks(range(0, classes, step), names[::step], color=INK)
    axes.set(xlabel="predicted", ylabel="true")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    return to_svg(figure, alt)


def _cell(axes: Axes, i: int, j: int, count: float, strength: float, right: bool, counted: bool) -> None:
    from matplotlib.patches import Rectangle

    corner = (j - 0.47, i - 0.47)
    axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=LINE, alpha=0.35, linewidth=0))
    if strength > 0:
        axes.add_patch(
            Rectangle(corner, 0.94, 0.94, facecolor=POSITIVE if right else NEGATIVE, alpha=strength, linewidth=0)
        )
    if counted and count:
        strong = strength > 0.55
        axes.text(j, i, f"{count:g}", ha="center", va="center", color=CARD if strong else INK, fontsize=8.5)


def scatter(points: np.ndarray, labels: np.ndarray | None, names: Sequence[str] | None, alt: str) -> Markup:
    """Codes on a plane, coloured by class (with the name at the middle of each class) or by a real number."""
    figure = new_figure(6.4, 4.8)
    axes = plain_axes(figure, grid=None)
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=9, color=SERIES[0], alpha=0.65, linewidths=0)
    elif labels.dtype.kind == "f":
        shown = axes.scatter(points[:, 0], points[:, 1], s=9, c=labels, cmap="viridis", linewidths=0)
        bar = figure.colorbar(shown, ax=axes, shrink=0.6)
        bar.ax.tick_params(colors=MUTED, labelsize=8)
        bar.outline.set_visible(False)
    else:
        _scatter_classes(axes, points, labels.astype(int), names)
    return to_svg(figure, alt, width=860)


def _scatter_classes(axes: Axes, points: np.ndarray, labels: np.ndarray, names: Sequence[str] | None) -> None:
    from matplotlib.patheffects import withStroke

    for label in np.unique(labels):
        members = points[labels == label]
        known = names is not None and 0 <= label < len(names)
        name = "unlabelled" if label < 0 else names[label] if known else str(label)  # type: ignore[index]
        shade = MUTED if label < 0 else SERIES[label % len(SERIES)]
        marker = MARKERS[max(label, 0) // len(SERIES) % len(MARKERS)]
        axes.scatter(
            members[:, 0], members[:, 1], s=11, color=shade, alpha=0.7, linewidths=0, marker=marker, label=name
        )
        if label >= 0:
            x, y = np.median(members, axis=0)
            text = axes.text(x, y, name, color=INK, ha="center", va="center", fontsize=11)
            text.set(path_effects=[withStroke(linewidth=3.5, foreground=CARD)], fontweight="bold")
    axes.legend(
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        markerscale=1.6,
        handletextpad=0.2,
    )


def bars(values: np.ndarray, names: Sequence[str], alt: str, *, most: int = 8) -> Markup:
    """The strongest values with their names: blue to the right is positive, orange to the left negative."""
    order = np.argsort(-np.abs(values))[:most]
    figure = new_figure(3.1, 0.5 + 0.21 * len(order))
    axes = plain_axes(figure, grid=None)
    shades = [POSITIVE if values[i] >= 0 else NEGATIVE for i in order]
    axes.barh(range(len(order)), values[order], color=shades, height=0.7)
    axes.axvline(0, color=LINE, linewidth=0.8)
    axes.set_yticks(range(len(order)), [_short(names[i]) for i in order], color=INK)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
    return to_svg(figure, alt)


def heat_map(
    values: np.ndarray,
    alt: str,
    *,
    limits: tuple[float, float],
    column_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    colours: str = "cividis",
    width: float = 7.6,
) -> Markup:
    """Rows of a table as a picture; names appear where there is room for them. NaN (not given) stays empty."""
    rows, columns = values.shape
    named = column_names is not None and columns <= 4.6 * width
    longest = max(map(len, map(_short, column_names or [""]))) if named else 0
    figure = new_figure(width, 0.45 + 0.065 * longest + min(4.5, max(0.9, 0.16 * rows)))
    axes = plain_axes(figure, grid=None)
    axes.imshow(
        np.ma.masked_invalid(values), aspect="auto", cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="none"
    )
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_yticks([])
    if named and column_names is not None:
        axes.set_xticks(range(columns), [_short(name) for name in column_names], rotation=90, color=INK)
    if row_names is not None and rows <= 40:
        axes.set_yticks(range(rows), list(row_names), color=INK)
    return to_svg(figure, alt, width=round(width * 113))


def _short(name: str, longest: int = 18) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
