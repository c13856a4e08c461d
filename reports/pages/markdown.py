"""A report as Markdown, as GitHub shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from lightning_module.support.text import visible, visible_lines
from reports.pages.document import (
    Block,
    Code,
    Commands,
    Figure,
    Folded,
    Inline,
    Items,
    Link,
    Report,
    ReportLink,
    SectionLink,
    Strong,
    Text,
    anchor,
    spans,
)
from reports.pages.printed import printed_caption, printed_rows

MARKS = re.compile(
    r"[\\`*~$#]"  # code, emphasis, mathematics, headings
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, unless it stands inside a word
    r"|<(?=[A-Za-z/!?])|&(?=#?\w+;)"  # HTML
    r"|(?<=\])[(\[:]|!(?=\[|$)"  # links and images
)
"""What means something else than itself, where it does."""

IN_LABEL = re.compile(MARKS.pattern + r"|[\[\]]")
"""The same between square brackets."""

FIRST = re.compile(r"^(\d*)([-+>]|(?<=\d)[.)])")
"""What begins a list or a quotation at the start of a line."""


def markdown(report: Report) -> str:
    """The whole report; its figures are files in figures/ beside it."""
    status = f"DRAFT: {report.status}; numbers will change." if report.draft else f"{report.status}."
    parts = [f"# {inline(report.title)}", inline(Strong(status))]
    for section in report.sections:
        parts.append(f"## {inline(section.title)}" if section.title else "")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def inline(text: Inline) -> str:
    """Spans on one line, where a word says what it says."""
    parts = []
    for span in spans(text):
        if isinstance(span, str):
            parts.append(_words(span))
        elif isinstance(span, Code):
            parts.append(_code(span.text))
        elif isinstance(span, Strong):
            parts.append(f"**{_words(span.text)}**")
        else:
            to = _target(span)
            parts.append(f"[{_words(span.text, IN_LABEL)}]({to})" if to else _words(span.text))
    return "".join(parts)


def _target(span: Link | ReportLink | SectionLink) -> str:
    if isinstance(span, SectionLink):
        return f"#{anchor(span.text)}"
    return span.address if isinstance(span, Link) else f"{span.name}/report.md"


def _words(text: str, marks: re.Pattern[str] = MARKS) -> str:
    return marks.sub(
        lambda mark: {"<": "&lt;", "&": "&amp;", "`": "&#96;"}.get(mark[0], "\\" + mark[0]), visible(text)
    )


def _code(text: str) -> str:
    shown = visible(text)
    if not shown.strip():
        return _words(shown)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    air = " " if re.match(r"^`|^ .* $|.*`$", shown) else ""
    return f"{fence}{air}{shown}{air}{fence}"


def _line(text: Inline) -> str:
    """A line of its own."""
    return FIRST.sub(r"\1\\\2", inline(text).lstrip())


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"> [!WARNING]\n> {_line(block.text)}" if block.kind == "warning" else _line(block.text)
    if isinstance(block, Items):
        return "\n".join(f"- {_line(text)}" for text in block.texts)
    if isinstance(block, Commands):
        lines = visible_lines("\n".join(block.lines))
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", lines)), default=0))
        return f"{fence}sh\n{lines}\n{fence}"
    if isinstance(block, Figure):
        return f"![{_words(block.caption, IN_LABEL)}](figures/{block.name}.svg)\n\n*{inline(block.caption)}*"
    if isinstance(block, Folded):
        inner = "\n\n".join(map(_block, block.blocks))
        return f"<details>\n<summary>{escape(visible(block.title), quote=False)}</summary>\n\n{inner}\n\n</details>"
    if not block.rows:
        return ""
    sides = "|" + "|".join(":--" if column.left else "--:" for column in block.columns) + "|"
    rows = [_row([column.label for column in block.columns]), sides, *map(_row, printed_rows(block))]
    caption = printed_caption(block)
    return "\n".join(rows) + (f"\n\n*{inline(caption)}*" if caption else "")


def _row(texts: Sequence[Inline]) -> str:
    return "| " + " | ".join(map(_cell, texts)) + " |"


def _cell(text: Inline) -> str:
    r"""A table cuts its lines at every | that has no \ before it, in code too, where \| would stay as it is."""
    held = tuple(span.text if isinstance(span, Code) and r"\|" in span.text else span for span in spans(text))
    return inline(held).replace("|", r"\|")
