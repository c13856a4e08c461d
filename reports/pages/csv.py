"""A table as CSV: all rows, in full precision."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from ablations.verdicts.statistics import Estimate
from lightning_module.support.text import visible_lines
from reports.pages.document import Interval, Table, plain

ESTIMATE_PARTS = ("mean", "sd", "n", "low", "high", "diverged")
INTERVAL_PARTS = ("low", "high")


def csv_table(table: Table) -> str:
    """One line per row; estimates and intervals take a column for each of their parts; links are texts."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    parts = [_parts([row[index] for row in table.rows]) for index in range(len(table.columns))]
    head: list[str] = []
    for column, names in zip(table.columns, parts, strict=True):
        head += [f"{column.label} {name}".strip() for name in names]
    writer.writerow(map(inert, head))
    for row in table.rows:
        writer.writerow([shown for each in zip(row, parts, strict=True) for shown in _values(*each)])
    return out.getvalue()


def _parts(values: Sequence[Any]) -> tuple[str, ...]:
    """What the columns of these values are called behind its label; one without a name of its own for plain ones."""
    if any(isinstance(value, Estimate) for value in values):
        return ESTIMATE_PARTS
    return INTERVAL_PARTS if any(isinstance(value, Interval) for value in values) else ("",)


def _values(value: Any, parts: Sequence[str]) -> list[Any]:
    if isinstance(value, Estimate | Interval):
        of = value.estimate if isinstance(value, Interval) else value
        numbers = [getattr(of, part) for part in parts]
        return ["" if number != number else number for number in numbers]
    shown = value if value is None or isinstance(value, int | float) else inert(_typed(plain(value)))
    return [shown] + [""] * (len(parts) - 1)


def _typed(text: str) -> str:
    """A number with a hyphen in place of its minus sign, which programs do not know."""
    return re.sub(r"^−(?=[\d.]+(e[-+]?\d+)?$)", "-", text)


def inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before what begins like one.

    Numbers stay numbers, and line breaks stay in their cell.
    """
    shown = visible_lines(text)
    with contextlib.suppress(ValueError):
        float(shown)
        return shown
    return re.sub(r"^(?=\s*[=+@-])", "'", shown)
