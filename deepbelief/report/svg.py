"""From a matplotlib figure to SVG that lives inside a page: its colours and fonts are the page's, light or dark.

Figures are drawn in stand-in colours; `to_svg` replaces them by the page's CSS variables. Text stays text.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, CARD = "#01a001", "#01a002", "#01a003", "#01a004"
SERIES = ["#02b001", "#02b002", "#02b003", "#02b004", "#02b005", "#02b006", "#02b007"]
MARK = "chart-number-"
POSITIVE, NEGATIVE = SERIES[0], SERIES[5]
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", CARD: "--card"} | {
    colour: f"--series-{i}" for i, colour in enumerate(SERIES)
}
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "deepbelief", "svg.image_inline": True}


def new_figure(width: float, height: float) -> Figure:
    """An empty, transparent figure of that size in inches, outside pyplot's state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    return figure


def plain_axes(figure: Figure, *, grid: Literal["x", "y"] | None = "y") -> Axes:
    """Axes with quiet spines and ticks, in the page's colours."""
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=MUTED, labelsize=8, length=3, width=0.6)
    axes.xaxis.label.set(color=MUTED, size=8.5)
    axes.yaxis.label.set(color=MUTED, size=8.5)
    if grid:
        axes.grid(axis=grid, color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
    return axes


def to_svg(figure: Figure, alt: str, *, width: int | None = None) -> Markup:
    """The figure as an SVG element with `alt` as its name, at most `width` CSS pixels wide."""
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        # A name with dollar signs is a name, not a formula.
        text.set_parse_math(False)
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The browser has the letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    body = _inside_page(buffer.getvalue())
    inches = figure.get_size_inches()
    # Below this width a wide figure scrolls sideways, for its text would be too small to read.
    least = round(inches[0] * 76)
    style = f"max-width:{max(least, width or round(inches[0] * 96))}px;min-width:{least if inches[0] > 4 else 0}px"
    opening = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {:g} {:g}" style="{}">').format(
        alt, inches[0] * 72, inches[1] * 72, style
    )
    return opening + Markup(body) + Markup("</svg>")


def _inside_page(document: str) -> str:
    """The children of an SVG document's root, with colours, fonts and identifiers fit for a page of many figures."""
    body = document[document.index(">", document.index("<svg")) + 1 : document.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href=", "href=")
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{MARK}{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{MARK}", body)
    return re.sub(r"font: ([^;\"]*?\d[\d.]*px) [^;\"]*", _font, body)


def number_charts(page: str) -> str:
    """The page with the identifiers of each chart made its own, so that no two charts share one."""
    pieces = page.split("<svg ")
    return "<svg ".join(piece.replace(MARK, f"chart{i}-") for i, piece in enumerate(pieces))


def _font(match: re.Match[str]) -> str:
    size = match.group(1).split()[-1]
    weight = "; font-weight: 600" if re.search(r"\b(bold|[67]00)\b", match.group(1)) else ""
    return f"font-size: {size}{weight}"
