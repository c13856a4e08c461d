"""A table as LaTeX, for a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightning_module.support.text import visible
from reports.pages.document import Inline, Link, Table, plain, spans
from reports.pages.printed import printed_caption, printed_rows

SPELLED = {character: "\\" + character for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "-": "-{}",  # before another one, where two would be a dash
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
}
MARKS = re.compile(r"[&%$#_{}\\~^`<>|–−±†‡×Δ≤≥]|-(?=-)|[^\x00-\u017f\u2010-\u2027]")
"""What LaTeX would take for something else, and letters that pdfLaTeX does not know: those are named by number."""


def latex(text: str) -> str:
    """Text for LaTeX."""
    return MARKS.sub(lambda mark: SPELLED.get(mark[0]) or f"[U+{ord(mark[0]):04X}]", visible(text))


def inline(text: Inline) -> str:
    """Spans for LaTeX, in the letters around them."""
    return "".join(_linked(span) if isinstance(span, Link) else latex(plain(span)) for span in spans(text))


def _linked(link: Link) -> str:
    address = re.sub(r"[%#&_]", r"\\\g<0>", link.address.replace("~", "%7E"))
    return rf"\href{{{address}}}{{{latex(link.text)}}}" if address else latex(link.text)


def latex_table(table: Table) -> str:
    """A booktabs tabular in a table environment."""
    sides = "".join("l" if column.left else "r" for column in table.columns)
    rows = [*map(_row, printed_rows(table))]
    packages = "booktabs" + ",hyperref" * any(r"\href{" in row for row in rows)
    lines = [
        f"% needs \\usepackage{{{packages}}}",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{latex(printed_caption(table))}}}",
        f"  \\label{{tab:{table.name}}}",
        f"  \\begin{{tabular}}{{{sides}}}",
        r"  \toprule",
        _row(column.label for column in table.columns),
        r"  \midrule",
        *rows,
        r"  \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(texts: Iterable[Inline]) -> str:
    cells = " & ".join(map(inline, texts))
    return "  " + re.sub(r"^\s*[\[*]", r"{\g<0>}", cells) + r" \\"  # no argument of the \\ before it
