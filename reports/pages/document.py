"""The model of a report: sections of text, tables and figures. Renderers turn it into files.

Text may hold `code`, **bold** and [links](address), nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reports.numbers.statistics import Estimate
from reports.words import HOLE, number, spread


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: "lead" is the answer, "warning" is boxed, "note" is small."""

    text: str
    kind: Literal["", "lead", "warning", "note"] = ""


@dataclass(frozen=True)
class Items:
    """A list of short paragraphs."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Shell lines to copy."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A table column. decimals: of its numbers, None for whole numbers and text; left: align text left."""

    label: str
    decimals: int | None = None
    left: bool = False


def text_columns(*labels: str) -> list[Column]:
    """Columns of text, aligned left."""
    return [Column(label, left=True) for label in labels]


@dataclass(frozen=True)
class Table:
    """A table. Values in rows are None (a hole), text, numbers or Estimates; `name` names its files."""

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Panels side by side under a legend, from reports.pages.svg.

    panels: SVG content of one size; height: theirs in px, None for the usual one. legend: (label, key from
    svg.swatch). The caption also serves those who cannot see the figure.
    """

    name: str
    caption: str
    panels: tuple[str, ...]
    legend: tuple[tuple[str, str], ...] = ()
    height: int | None = None


Block = Text | Items | Commands | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; folded: closed at first in HTML."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """A whole report; `draft` while any cell is open."""

    name: str
    title: str
    status: str
    draft: bool
    sections: tuple[Section, ...]

    @property
    def blocks(self) -> list[Block]:
        """All blocks in order."""
        return [block for section in self.sections for block in section.blocks]


def cell(value: Any, column: Column) -> str:
    """A value as it is printed in its column."""
    if value is None:
        return HOLE
    if isinstance(value, Estimate):
        return spread(value, 2 if column.decimals is None else column.decimals)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, column.decimals)
    return str(value)
