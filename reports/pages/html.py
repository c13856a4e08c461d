"""A report as one HTML file that needs nothing else: styles, script and figures are inside."""

from __future__ import annotations

import re
from dataclasses import replace

from lightning_module.support.text import visible_lines
from reports.pages.document import (
    Block,
    Code,
    Column,
    Commands,
    Figure,
    Folded,
    Inline,
    Items,
    Link,
    Report,
    ReportLink,
    Section,
    SectionLink,
    Strong,
    Table,
    Text,
    anchor,
    plain,
    spans,
)
from reports.pages.figure import template
from reports.pages.printed import printed_caption, printed_rows
from reports.pages.svg import HEIGHT, WIDTH, escaped
from reports.words import HOLE


def html(report: Report) -> str:
    """The whole report."""
    body = "\n".join(_section(section) for section in report.sections)
    said = f"Draft: {report.status}; numbers will change." if report.draft else f"{report.status}."
    status = f'<p class="{"draft" if report.draft else "status"}">{inline(said)}</p>'
    styles = "\n".join(template(name) for name in ("colours.css", "figure.css", "page.css"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escaped(report.title)}</title>\n<style>\n{styles}\n</style></head>\n<body><main>\n"
        f"<h1>{inline(report.title)}</h1>\n{status}\n{body}\n"
        f"</main>\n<script>\n{template('page.js')}\n</script>\n</body></html>\n"
    )


def inline(text: Inline) -> str:
    """Spans as HTML."""
    parts = []
    for span in spans(text):
        if isinstance(span, str):
            parts.append(_words(span))
        elif isinstance(span, Code):
            parts.append(f"<code>{escaped(span.text, quote=False)}</code>")
        elif isinstance(span, Strong):
            parts.append(f"<strong>{_words(span.text)}</strong>")
        else:
            to = _target(span)
            words = _words(span.text)
            parts.append(f'<a href="{escaped(to)}">{words}</a>' if to else words)
    return "".join(parts)


def _target(span: Link | ReportLink | SectionLink) -> str:
    if isinstance(span, SectionLink):
        return f"#{anchor(span.text)}"
    return span.address if isinstance(span, Link) else f"{span.name}/report.html"


def _words(text: str) -> str:
    """Text, without line breaks before a unit."""
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", escaped(text, quote=False))


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    title = inline(section.title)
    heading = f'<h2 id="{anchor(section.title)}">{title}</h2>' if title else ""
    if section.folded:
        return f"<details><summary>{heading}</summary>\n{blocks}\n</details>"
    return f"<section>{heading}\n{blocks}\n</section>"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p{_class(block.kind)}>{inline(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>" + "\n".join(f"<li>{inline(text)}</li>" for text in block.texts) + "</ul>"
    if isinstance(block, Commands):
        return (
            "<pre>" + "\n".join(map(escaped, visible_lines("\n".join(block.lines)).splitlines())) + "</pre>"
        )
    if isinstance(block, Folded):
        inner = "\n".join(map(_block, block.blocks))
        return f"<details><summary>{inline(block.title)}</summary>\n{inner}\n</details>"
    return _figure(block) if isinstance(block, Figure) else _table(block)


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def _figure(figure: Figure) -> str:
    frame = '<svg viewBox="0 0 26 14" width="26" height="14" aria-hidden="true">'
    keys = "".join(f"<span>{frame}{key}</svg>{escaped(text)}</span>" for text, key in figure.legend)
    height = figure.height or HEIGHT
    box = f'viewBox="0 0 {WIDTH} {height}"'
    panels = "\n".join(
        f'<svg {box} preserveAspectRatio="xMinYMin" role="img" aria-label="{escaped(figure.caption)}">{panel}</svg>'
        for panel in figure.panels
    )
    legend = f'<div class="legend">{keys}</div>' if keys else ""
    caption = f"<figcaption>{inline(figure.caption)}</figcaption>"
    tall = f' class="tall" style="--most:{0.8 * height:.0f}px"' if height > HEIGHT else ""
    return f'<figure{tall}>{legend}<div class="panels">\n{panels}\n</div>{caption}</figure>'


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    columns = table.columns
    head = "".join(
        f"<th{_class('left' * column.left)}>{_unit_held(inline(column.label))}</th>" for column in columns
    )
    told = columns if table.cards else [replace(column, label="") for column in columns]
    rows = ("".join(map(_cell, texts, told)) for texts in printed_rows(table))
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    kind = "table cards" if table.cards else "table"
    return (
        f'<figure class="{kind}"><div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div><figcaption>{inline(printed_caption(table))}</figcaption></figure>"
    )


def _unit_held(label: str) -> str:
    """A heading that wraps, but not before its unit or after its sign."""
    return re.sub(r"(?<=,) | (?=%)|(?<=Δ) ", "\N{NO-BREAK SPACE}", label)


def _cell(text: Inline, column: Column) -> str:
    """A dagger hangs into the margin, so that digits stay below digits; only long texts wrap."""
    out = re.sub("([†‡§]+)$", r'<span class="mark">\1</span>', inline(text))
    limit = 32 if isinstance(text, str) else 30  # code and links are wider
    style = "left long" if column.left and len(plain(text)) > limit else "left" * column.left
    style = "hole" if column.label and plain(text) in ("", HOLE) else style
    label = f' data-label="{escaped(column.label)}"' if column.label else ""
    return f"<td{_class(style)}{label}>{out}</td>"
