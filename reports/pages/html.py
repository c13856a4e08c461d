"""A report as one HTML file that needs nothing else: styles, script and figures are inside."""

from __future__ import annotations

import re
from html import escape

from reports.pages.document import Block, Commands, Figure, Items, Report, Section, Table, Text
from reports.pages.figure import template
from reports.pages.printed import printed_caption, printed_rows
from reports.pages.svg import HEIGHT, WIDTH


def html(report: Report) -> str:
    """The whole report."""
    body = "\n".join(_section(section) for section in report.sections)
    banner = '<p class="draft">Draft: some cells are open, numbers will change.</p>' if report.draft else ""
    styles = "\n".join(template(name) for name in ("colours.css", "figure.css", "page.css"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{styles}\n</style></head>\n<body><main>\n"
        f'{banner}<h1>{inline(report.title)}</h1>\n<p class="status">{inline(report.status)}.</p>\n{body}\n'
        f"</main>\n<script>\n{template('page.js')}\n</script>\n</body></html>\n"
    )


def inline(text: str) -> str:
    """`code`, **bold** and [links](address) of a text as HTML; no line breaks before a unit."""
    out = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", escape(text, quote=False))
    out = re.sub(r"`([^`]+)`", r"<code>\1</code>", out)
    out = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", out)
    return re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+|[\w./-]+)\)", r'<a href="\2">\1</a>', out)


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    title = inline(section.title)
    if section.folded:
        return f"<details><summary><h2>{title}</h2></summary>\n{blocks}\n</details>"
    return f"<section>{f'<h2>{title}</h2>' if title else ''}\n{blocks}\n</section>"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p{_class(block.kind)}>{inline(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>" + "\n".join(f"<li>{inline(text)}</li>" for text in block.texts) + "</ul>"
    if isinstance(block, Commands):
        return "<pre>" + escape("\n".join(block.lines)) + "</pre>"
    return _figure(block) if isinstance(block, Figure) else _table(block)


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def _figure(figure: Figure) -> str:
    frame = '<svg viewBox="0 0 26 14" width="26" height="14" aria-hidden="true">'
    keys = "".join(f"<span>{frame}{key}</svg>{escape(text)}</span>" for text, key in figure.legend)
    box = f'viewBox="0 0 {WIDTH} {figure.height or HEIGHT}"'
    panels = "\n".join(
        f'<svg {box} role="img" aria-label="{escape(figure.caption)}">{panel}</svg>'
        for panel in figure.panels
    )
    legend = f'<div class="legend">{keys}</div>' if keys else ""
    caption = f"<figcaption>{inline(figure.caption)}</figcaption>"
    return f'<figure>{legend}<div class="panels">\n{panels}\n</div>{caption}</figure>'


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    left = [column.left for column in table.columns]
    head = "".join(
        f"<th{_class('left' * column.left)}>{inline(_unit_held(column.label))}</th>"
        for column in table.columns
    )
    rows = ("".join(map(_cell, texts, left)) for texts in printed_rows(table))
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<figure class="table"><div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}'
        f"</tbody></table></div><figcaption>{inline(printed_caption(table))}</figcaption></figure>"
    )


def _unit_held(label: str) -> str:
    """A heading that wraps, but not before its unit or after its sign."""
    return re.sub(r"(?<=,) | (?=%)|(?<=Δ) ", "\N{NO-BREAK SPACE}", label)


def _cell(text: str, left: bool) -> str:
    """A dagger hangs into the margin, so that digits stay below digits; only long texts wrap."""
    out = re.sub("([†‡§]+)$", r'<span class="mark">\1</span>', inline(text))
    seen = re.sub(r"\]\([^)]*\)", "", text)  # an address takes no room
    style = "left long" if left and len(seen) > 32 else "left" * left
    return f"<td{_class(style)}>{out}</td>"
