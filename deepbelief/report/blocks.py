"""What a page is made of: sections of blocks, which the template knows how to lay out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass
class Panel:
    """One picture (an ``<img>`` or ``<svg>``) with a caption."""

    picture: Markup
    caption: str = ""
    note: str = ""


@dataclass
class Panels:
    """Pictures that flow side by side as the window allows, each at least `width` CSS pixels wide."""

    template: ClassVar[str] = "panels"
    panels: Sequence[Panel]
    width: int = 280
    heading: str = ""
    lead: str = ""


@dataclass
class Columns:
    """Panels in columns side by side, each column under its name; below each other where the window is narrow."""

    template: ClassVar[str] = "columns"
    columns: Sequence[tuple[str, Sequence[Panel]]]
    heading: str = ""
    lead: str = ""


@dataclass
class Strips:
    """Labelled strips of equally many tiles, one below the other; `columns` names the tiles."""

    template: ClassVar[str] = "strips"
    rows: Sequence[tuple[str, Markup]]
    columns: Sequence[str] = ()
    heading: str = ""
    lead: str = ""
    tile_width: int = 64


@dataclass
class Section:
    """A part of the page: `lead` says in a sentence or two what is seen."""

    id: str
    title: str
    lead: str = ""
    blocks: list[Panels | Columns | Strips] = field(default_factory=list)
    template: str = ""
