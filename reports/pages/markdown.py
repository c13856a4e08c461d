"""A report as Markdown, as GitHub shows it."""

from __future__ import annotations

from collections.abc import Iterable

from reports.pages.document import Block, Commands, Figure, Items, Report, Text
from reports.pages.printed import printed_caption, printed_rows


def markdown(report: Report) -> str:
    """The whole report; its figures are files in figures/ beside it."""
    parts = [f"# {report.title}", f"**{'DRAFT: ' if report.draft else ''}{report.status}.**"]
    for section in report.sections:
        parts.append(f"## {section.title}" if section.title else "")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"> [!WARNING]\n> {block.text}" if block.kind == "warning" else block.text
    if isinstance(block, Items):
        return "\n".join(f"- {text}" for text in block.texts)
    if isinstance(block, Commands):
        return "\n".join(["```sh", *block.lines, "```"])
    if isinstance(block, Figure):
        return f"![{block.caption}](figures/{block.name}.svg)\n\n*{block.caption}*"
    if not block.rows:
        return ""
    sides = "|" + "|".join(":--" if column.left else "--:" for column in block.columns) + "|"
    lines = [_row(column.label for column in block.columns), sides, *map(_row, printed_rows(block))]
    caption = printed_caption(block)
    return "\n".join(lines) + (f"\n\n*{caption}*" if caption else "")


def _row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"
