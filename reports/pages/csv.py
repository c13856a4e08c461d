"""A table as CSV: all rows, in full precision."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from typing import Any

from ablations.verdicts.statistics import Estimate
from lightning_module.support.text import visible_lines
from reports.pages.document import Table, plain

ESTIMATE_PARTS = ("mean", "sd", "n", "low", "high", "diverged")


def csv_table(table: Table) -> str:
    """One line per row; a column that holds estimates takes as many columns as they have parts; links are texts."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    wide = [any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.columns))]
    head: list[str] = []
    for column, is_wide in zip(table.columns, wide, strict=True):
        head += [f"{column.label} {part}".strip() for part in ESTIMATE_PARTS] if is_wide else [column.label]
    writer.writerow(map(inert, head))
    for row in table.rows:
        cells = zip(row, wide, strict=True)
        writer.writerow([part for value, is_wide in cells for part in _parts(value, is_wide)])
    return out.getvalue()


def _parts(value: Any, is_wide: bool) -> list[Any]:
    if isinstance(value, Estimate):
        numbers = [getattr(value, part) for part in ESTIMATE_PARTS]
        return ["" if number != number else number for number in numbers]
    shown = value if value is None or isinstance(value, int | float) else inert(plain(value))
    return [shown] + [""] * (len(ESTIMATE_PARTS) - 1) * is_wide


def inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before what begins like one.

    Numbers stay numbers, and line breaks stay in their cell.
    """
    shown = visible_lines(text)
    with contextlib.suppress(ValueError):
        float(shown)
        return shown
    return re.sub(r"^(?=\s*[=+@-])", "'", shown)
