"""A table as LaTeX, for a paper."""

from __future__ import annotations

from collections.abc import Iterable

from reports.pages.document import Table
from reports.pages.printed import printed_caption, printed_rows

ESCAPES = str.maketrans(
    {character: "\\" + character for character in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
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
)


def latex(text: str) -> str:
    """Text for LaTeX, without the marks of `code` and **bold**."""
    return text.replace("`", "").replace("**", "").translate(ESCAPES)


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


def _row(texts: Iterable[str]) -> str:
    return "  " + " & ".join(map(latex, texts)) + r" \\"
