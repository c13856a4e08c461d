"""A table as CSV: all rows, in full precision."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from typing import Any

from lightning_module.support.text import visible_lines
from reports.numbers.statistics import Estimate
from reports.pages.document import Column, Link, Table, cell, plain

ESTIMATE_PARTS = ("mean", "sd", "n", "low", "high", "diverged")
LINK_PARTS = ("", "address")


def csv_table(table: Table) -> str:
    """One line per row; a column that holds estimates or links takes as many columns as they have parts."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    parts = [_parts([row[i] for row in table.rows]) for i in range(len(table.columns))]
    head = zip(table.columns, parts, strict=True)
    writer.writerow([inert(f"{column.label} {part}".strip()) for column, names in head for part in names])
    for row in table.rows:
        cells = zip(row, table.columns, parts, strict=True)
        writer.writerow([part for value, column, names in cells for part in _cells(value, column, names)])
    return out.getvalue()


def _parts(values: list[Any]) -> tuple[str, ...]:
    if any(isinstance(value, Estimate) for value in values):
        return ESTIMATE_PARTS
    return LINK_PARTS if any(isinstance(value, Link) and value.address for value in values) else ("",)


def _cells(value: Any, column: Column, parts: tuple[str, ...]) -> list[Any]:
    """A value in as many cells as its column has parts; numbers as they are, text without what means something."""
    if isinstance(value, Estimate):
        numbers = [getattr(value, part) for part in ESTIMATE_PARTS]
        return ["" if number != number else number for number in numbers]
    known = value is None or isinstance(value, int | float)
    first = value if known else inert(plain(cell(value, column)))
    address = [value.address if isinstance(value, Link) else ""] * (parts is LINK_PARTS)
    return [first, *address, *[""] * (len(parts) - 1 - len(address))]


def inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before what begins like one.

    Numbers stay numbers, and line breaks stay in their cell.
    """
    shown = visible_lines(text)
    with contextlib.suppress(ValueError):
        float(shown)
        return shown
    return re.sub(r"^(?=\s*[=+@-])", "'", shown)
