"""A table as LaTeX, for a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightning_module.support.text import visible
from reports.pages.document import Inline, Table, plain
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


def latex(text: Inline) -> str:
    """Text for LaTeX, in the letters around it; links are their texts, so that no paper needs hyperref."""
    return MARKS.sub(lambda mark: SPELLED.get(mark[0]) or f"[U+{ord(mark[0]):04X}]", visible(plain(text)))


def latex_table(table: Table) -> str:
    """A booktabs tabular in a table environment."""
    sides = "".join("l" if column.left else "r" for column in table.columns)
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{latex(printed_caption(table))}}}",
        f"  \\label{{tab:{table.name}}}",
        f"  \\begin{{tabular}}{{{sides}}}",
        r"  \toprule",
        _row(column.label for column in table.columns),
        r"  \midrule",
        *map(_row, printed_rows(table)),
        r"  \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(texts: Iterable[Inline]) -> str:
    cells = " & ".join(map(latex, texts))
    return "  " + re.sub(r"^\s*[\[*]", r"{\g<0>}", cells) + r" \\"  # no argument of the \\ before it
