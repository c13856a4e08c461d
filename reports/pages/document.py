"""The model of a report: sections of text, tables and figures. Renderers turn it into files.

Text is a string, which means itself whatever stands in it; code, emphasis and links are spans of their own. Each
renderer has one function, `inline`, that spells them in its format; nothing is ever parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import quote

from ablations.verdicts.statistics import Estimate
from reports.words import HOLE, interval, number, spread


@dataclass(frozen=True)
class Code:
    """What is typed, in the letters of a typewriter."""

    text: str


@dataclass(frozen=True)
class Strong:
    """A word or two that stand out."""

    text: str


@dataclass(frozen=True)
class Link:
    """A text that leads to a web address; the text alone where the address is none."""

    text: str
    url: str

    @property
    def address(self) -> str:
        """The address in characters that mean nothing in any format but LaTeX; "" unless it is http(s)."""
        if not re.match(r"https?://[^\s/]", self.url, re.IGNORECASE):
            return ""
        return quote(self.url, safe="%/:?#@!+,=&~[]", errors="replace")


@dataclass(frozen=True)
class ReportLink:
    """Leads to another report, in the folder of its name: to its page of the same kind."""

    text: str
    name: str


@dataclass(frozen=True)
class SectionLink:
    """Leads to the section of this title on the same page."""

    text: str


def anchor(title: str) -> str:
    """What GitHub makes of a heading, for links to it."""
    return re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"), flags=re.ASCII)


Span = str | Code | Strong | Link | ReportLink | SectionLink
Inline = Span | tuple["Inline", ...]
"""What stands in a line: spans after each other."""


def spans(text: Inline) -> Iterator[Span]:
    """The spans in order; strings that touch are one, so that a renderer sees all that a reader of it would."""
    whole = ""
    for span in _flat(text):
        if isinstance(span, str):
            whole += span
            continue
        if whole:
            yield whole
        whole = ""
        yield span
    if whole:
        yield whole


def _flat(text: Inline) -> Iterator[Span]:
    if isinstance(text, tuple):
        for part in text:
            yield from _flat(part)
    else:
        yield text


def plain(text: Inline) -> str:
    """The words alone."""
    return "".join(span if isinstance(span, str) else span.text for span in _flat(text))


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: "lead" is the answer, "warning" is boxed, "note" is small."""

    text: Inline
    kind: Literal["", "lead", "warning", "note"] = ""


@dataclass(frozen=True)
class Items:
    """A list of short paragraphs."""

    texts: tuple[Inline, ...]


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
class Interval:
    """The interval of an estimate, as a value of a table."""

    estimate: Estimate


@dataclass(frozen=True)
class Table:
    """A table. Values in rows are None (a hole), Inlines, numbers, Estimates or Intervals; `name` names its files.

    cards: on a phone a row is a card, its first cell the title, every further one behind the label of its column.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    cards: bool = False


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


@dataclass(frozen=True)
class Folded:
    """What few readers need: closed at first, under a line that says what it is."""

    title: str
    blocks: tuple[Block, ...]


Block = Text | Items | Commands | Table | Figure | Folded


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
        """All blocks in order, in place of a folded one what it holds."""
        every = (block for section in self.sections for block in section.blocks)
        return [each for block in every for each in (block.blocks if isinstance(block, Folded) else (block,))]


def cell(value: Any, column: Column) -> Inline:
    """A value as it is printed in its column."""
    if value is None:
        return HOLE
    decimals = 2 if column.decimals is None else column.decimals
    if isinstance(value, Estimate):
        return spread(value, decimals)
    if isinstance(value, Interval):
        return interval(value.estimate, decimals)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, column.decimals)
    return cast(Inline, value)
