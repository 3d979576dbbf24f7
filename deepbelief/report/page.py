"""The page: one self-contained HTML file that asks nothing of any network and runs no script."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import deepbelief
from deepbelief.evaluation.gallery import Gallery
from deepbelief.files import atomic_write_text
from deepbelief.report.numbers import MEANINGS, format_number, headline_results, kind_name, number_rows, readable
from deepbelief.report.sections import make_sections
from deepbelief.report.svg import number_charts


def write_report(gallery: Gallery, path: str | Path) -> Path:
    """Draw `gallery` and write the page to `path` (a file, or a folder that gets ``report.html``); returns the file.

    Raises `InvalidArgumentError` when arrays do not fit each other, `StorageError` when the disk is full.
    """
    path = Path(path)
    path = path / "report.html" if path.is_dir() or not path.suffix else path
    atomic_write_text(path, render_report(gallery))
    return path


def render_report(gallery: Gallery) -> str:
    """The page as text."""
    gallery.check()
    rows = number_rows(gallery.results)
    used = {row.kind for row in rows}
    page = page_environment().get_template("report.html.j2")
    html = page.render(
        gallery=gallery,
        sections=make_sections(gallery),
        cards=number_rows(headline_results(gallery.results, gallery.headline)),
        rows=rows,
        meanings=[(kind, kind_name(kind), text) for kind, text in MEANINGS.items() if kind in used],
        layers=_layer_widths(gallery),
        facts={readable(name): fact_text(value) for name, value in (gallery.data_facts or {}).items()},
        settings=settings_text(gallery.settings or {}),
        version=deepbelief.__version__,
    )
    return number_charts(html).strip() + "\n"


def fact_text(value: Any) -> str:
    """A fact as a person reads it: numbers with separators, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_number(float(value))
    if isinstance(value, list | tuple):
        return ", ".join(map(fact_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {fact_text(item)}" for name, item in value.items())
    return "none" if value is None else str(value)


def settings_text(settings: Mapping[str, Any]) -> str:
    """The settings as YAML, in their own order."""
    import yaml

    return yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True) if settings else ""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _layer_widths(gallery: Gallery) -> list[dict[str, Any]]:
    """The layers from the top down, each as wide as the logarithm of its units."""
    layers = gallery.layers or []
    most = max((math.log1p(layer.get("units", 0)) for layer in layers), default=1.0) or 1.0
    return [
        {**layer, "percent": round(28 + 72 * math.log1p(layer.get("units", 0)) / most)} for layer in reversed(layers)
    ]


def page_environment() -> jinja2.Environment:
    """The templates' surroundings, with the style of all pages."""
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup((folder / "report.css").read_text(encoding="utf-8"))
    return environment
