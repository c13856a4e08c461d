"""The model of a report -> files: Markdown, one HTML file, SVG figures, CSV and LaTeX tables."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from reports.numbers.statistics import Estimate
from reports.pages.document import Block, Commands, Figure, Items, Report, Section, Table, Text, cell
from reports.pages.svg import HEIGHT, WIDTH
from reports.sections.figures import legend_rows, size
from reports.sections.tables import SHOWN

TEMPLATES = Path(__file__).parent / "templates"


@cache
def template(name: str) -> str:
    """A file of reports/templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def files(report: Report) -> dict[str, str]:
    """Every file of a report: path below its folder -> content."""
    out = pages(report, "report")
    for block in report.blocks:
        if isinstance(block, Figure):
            out[f"figures/{block.name}.svg"] = figure_svg(block)
        elif isinstance(block, Table):
            out[f"tables/{block.name}.csv"] = table_csv(block)
            out[f"tables/{block.name}.tex"] = table_latex(block)
    return out


def pages(report: Report, name: str) -> dict[str, str]:
    """The two pages; in each, links to other reports lead to the same kind of page (report.PAGE)."""
    return {
        f"{name}.md": markdown(report).replace("report.PAGE", "report.md"),
        f"{name}.html": html(report).replace("report.PAGE", "report.html"),
    }


def cut(table: Table) -> str:
    """Says how much of a long table is printed, "" if all is."""
    rest = len(table.rows) - SHOWN
    return f"{rest:,} more rows in tables/{table.name}.csv." if rest > 0 else ""


# Markdown


def markdown(report: Report) -> str:
    """The report for GitHub: tables, figures by relative path."""
    parts = [f"# {report.title}", f"**{'DRAFT: ' if report.draft else ''}{report.status}.**"]
    for section in report.sections:
        parts.append(f"## {section.title}" if section.title else "")
        parts += [_markdown_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_block(block: Block) -> str:
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
    lines = ["| " + " | ".join(_pipe(column.label) for column in block.columns) + " |"]
    lines.append("|" + "|".join(":--" if column.left else "--:" for column in block.columns) + "|")
    for row in block.rows[:SHOWN]:
        lines.append(
            "| " + " | ".join(_pipe(cell(v, c)) for v, c in zip(row, block.columns, strict=True)) + " |"
        )
    tail = " ".join(filter(None, [block.caption, block.note, cut(block)]))
    return "\n".join(lines) + (f"\n\n*{tail}*" if tail else "")


def _pipe(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# HTML


def html(report: Report) -> str:
    """The report as one file that needs nothing else."""
    body = "\n".join(_html_section(section) for section in report.sections)
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


def _html_section(section: Section) -> str:
    blocks = "\n".join(_html_block(block) for block in section.blocks)
    title = inline(section.title)
    if section.folded:
        return f"<details><summary><h2>{title}</h2></summary>\n{blocks}\n</details>"
    return f"<section>{f'<h2>{title}</h2>' if title else ''}\n{blocks}\n</section>"


def _html_block(block: Block) -> str:
    if isinstance(block, Text):
        return (
            f'<p class="{block.kind}">{inline(block.text)}</p>'
            if block.kind
            else f"<p>{inline(block.text)}</p>"
        )
    if isinstance(block, Items):
        return "<ul>" + "\n".join(f"<li>{inline(text)}</li>" for text in block.texts) + "</ul>"
    if isinstance(block, Commands):
        return "<pre>" + escape("\n".join(block.lines)) + "</pre>"
    return _html_figure(block) if isinstance(block, Figure) else _html_table(block)


def _html_figure(figure: Figure) -> str:
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


def _html_table(table: Table) -> str:
    if not table.rows:
        return ""
    sides = ["" if not column.left else ' class="left"' for column in table.columns]
    head = "".join(
        f"<th{s}>{inline(_unit_held(c.label))}</th>" for c, s in zip(table.columns, sides, strict=True)
    )
    lines = [
        "<tr>"
        + "".join(_html_cell(cell(v, c), c.left) for v, c in zip(row, table.columns, strict=True))
        + "</tr>"
        for row in table.rows[:SHOWN]
    ]
    tail = " ".join(filter(None, [table.caption, table.note, cut(table)]))
    return (
        f'<figure class="table"><div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(lines)
        + f"</tbody></table></div><figcaption>{inline(tail)}</figcaption></figure>"
    )


def _unit_held(label: str) -> str:
    """A heading that wraps, but not before its unit or after its sign."""
    return re.sub(r"(?<=,) | (?=%)|(?<=Δ) ", "\N{NO-BREAK SPACE}", label)


def _html_cell(text: str, left: bool) -> str:
    """A dagger hangs into the margin, so that digits stay below digits; only long texts wrap."""
    out = re.sub("([†‡]+)$", r'<span class="mark">\1</span>', inline(text))
    seen = re.sub(r"\]\([^)]*\)", "", text)  # an address takes no room
    style = ' class="left long"' if left and len(seen) > 32 else ' class="left"' if left else ""
    return f"<td{style}>{out}</td>"


# Figures


def figure_svg(figure: Figure) -> str:
    """A figure as a file of its own: legend above panels, two in a row, light and dark."""
    across, width, height = size(figure)
    rows = legend_rows(figure.legend, width - 60)
    top = 8 + 20 * len(rows)
    parts = [
        f'<g transform="translate({50 + x:.1f} {8 + 20 * line})">{key}'
        f'<text class="t" x="32" y="11">{escape(text)}</text></g>'
        for line, row in enumerate(rows)
        for x, text, key in row
    ]
    for index, panel in enumerate(figure.panels):
        x, y = index % across * WIDTH, index // across * (figure.height or HEIGHT) + top
        parts.append(f'<g transform="translate({x} {y})">{panel}</g>')
    style = f"{template('colours.css')}\n{template('figure.css')}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + top}" width="{width}" '
        f'height="{height + top}" role="img">\n<title>{escape(figure.caption)}</title>\n'
        f"<style>{style}</style>\n"
        '<rect width="100%" height="100%" fill="var(--paper)"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


# Tables


def table_csv(table: Table) -> str:
    """Full precision; an estimate takes five columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    wide = [any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.columns))]
    head: list[str] = []
    for column, is_wide in zip(table.columns, wide, strict=True):
        head += [f"{column.label} {part}".strip() for part in ESTIMATE_PARTS] if is_wide else [column.label]
    writer.writerow(head)
    for row in table.rows:
        values: list[Any] = []
        for value, is_wide in zip(row, wide, strict=True):
            values += _csv_values(value) if is_wide else ["" if value is None else value]
        writer.writerow(values)
    return out.getvalue()


ESTIMATE_PARTS = ("mean", "sd", "n", "low", "high", "diverged")


def _csv_values(value: Any) -> list[Any]:
    if not isinstance(value, Estimate):
        return ["" if value is None else value] + [""] * (len(ESTIMATE_PARTS) - 1)
    numbers = [getattr(value, part) for part in ESTIMATE_PARTS]
    return ["" if number != number else number for number in numbers]


LATEX = str.maketrans(
    {character: "\\" + character for character in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        "−": "$-$",
    }
    | {
        "±": r"$\pm$",
        "†": r"$^\dagger$",
        "‡": r"$^\ddagger$",
        "×": r"$\times$",
        "Δ": r"$\Delta$",
        "≤": r"$\le$",
    }
    | {"≥": r"$\ge$"}
)
"""What LaTeX writes otherwise."""


def latex(text: str) -> str:
    """Text for LaTeX, without the marks of `inline`."""
    return text.replace("`", "").replace("**", "").translate(LATEX)


def table_latex(table: Table) -> str:
    """A booktabs tabular in a table environment."""
    sides = "".join("l" if column.left else "r" for column in table.columns)

    def line(texts: Iterable[str]) -> str:
        return "  " + " & ".join(map(latex, texts)) + r" \\"

    rows = [line(cell(v, c) for v, c in zip(row, table.columns, strict=True)) for row in table.rows[:SHOWN]]
    caption = latex(" ".join(filter(None, [table.caption, table.note, cut(table)])))
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{caption}}}",
            f"  \\label{{tab:{table.name}}}",
            f"  \\begin{{tabular}}{{{sides}}}",
            r"  \toprule",
            line(column.label for column in table.columns),
            r"  \midrule",
            *rows,
            r"  \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
