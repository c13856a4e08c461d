"""What of a table is printed: the texts of its first rows, and the line below them."""

from __future__ import annotations

from reports.pages.document import Inline, Table, cell

SHOWN = 200
"""Rows of a table that are printed; the CSV file has all."""


def printed_rows(table: Table) -> list[list[Inline]]:
    """The cells of the rows that are printed."""
    return [
        [cell(value, column) for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows[:SHOWN]
    ]


def printed_caption(table: Table) -> str:
    """Caption and note, and how many rows are not printed."""
    rest = len(table.rows) - SHOWN
    cut = f"{rest:,} more rows in tables/{table.name}.csv." if rest > 0 else ""
    return " ".join(filter(None, [table.caption, table.note, cut]))
