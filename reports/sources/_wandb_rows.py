"""What W&B holds of a run, on the server or in a file, as a parsed run. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lightning_module.cell.identity import flatten
from reports.sources._frames import ParsedRun

OURS = ("cell", "attempt", "sweeps", "_wandb")
"""Configuration keys on W&B that are not the configuration of the cell."""


def surviving_rows(rows: Iterable[Mapping[str, Any]], attempt: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows that count, by epoch: what a resumed attempt ran again replaces what was there before it.

    attempt: the last one. Rows logged before it about steps beyond its first step are superseded, as in the
    record.
    """
    start, time = attempt.get("step", math.inf), attempt.get("time", 0)
    kept: dict[float, Mapping[str, Any]] = {}
    for row in rows:
        if "epoch" in row and not (row.get("step", 0) > start and row.get("_timestamp", math.inf) < time):
            kept[row["epoch"]] = row
    return [kept[epoch] for epoch in sorted(kept)]


def numbers(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.float64]]]:
    """Names and values (rows × names) of what is a number in these rows; W&B's own keys are left out."""
    names = tuple(sorted({key for row in rows for key in row if not key.startswith("_")}))
    try:  # rows that are alike, which is nearly always: ten times faster
        values = np.array([list(map(row.__getitem__, names)) for row in rows], dtype=np.float64)
    except (KeyError, ValueError, TypeError):
        parsed = [{key: number(row.get(key)) for key in names} for row in rows]
        names = tuple(name for name in names if any(row[name] is not None for row in parsed))
        values = np.array([[row[name] for name in names] for row in parsed], dtype=np.float64)
    return names, values.reshape(len(rows), len(names))


def number(value: Any) -> float | None:
    """A number as W&B spells it ("NaN", "Infinity" are texts there); None if it is something else."""
    if isinstance(value, int | float):
        return float(value)
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else None


def parsed_run(
    identity: str,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    *,
    key: str = "",
    running: bool = False,
    damage: str = "",
    note: str = "",
    url: str = "",
    checksum: str = "",
) -> ParsedRun:
    """A run of W&B in the terms of a record; running: whether it is, as far as W&B knows."""
    attempt = dict(config.get("attempt", {})) | ({"url": url} if url else {})
    status = {word: summary[word] for word in ("status", "reason", "error") if word in summary}
    if status.get("status") not in ("finished", "diverged", "failed"):
        status = {"status": "running"} if running else {}
    names, values = numbers(surviving_rows(rows, attempt))
    own = flatten({part: value for part, value in config.items() if part not in OURS})
    return ParsedRun(
        key=key,
        cell={"identity": identity, "name": identity, **config.get("cell", {}), "config": own},
        attempt=attempt,
        attempts=attempt.get("attempt", 0),
        status=status,
        events=summary.get("events", []),
        damage=damage,
        checksum=checksum,
        names=names,
        rows=values,
        note=note,
        summary=summary_differences(summary, names, values),
        sweeps=sweeps if isinstance(sweeps := config.get("sweeps"), Mapping) else {},
        foreign="cell" not in config,
    )


def summary_differences(
    summary: Mapping[str, Any], names: Sequence[str], values: np.ndarray[Any, np.dtype[np.float64]]
) -> dict[str, float | None]:
    """The numbers of a summary that are not those of the last row (None: not in it); {} if there are no rows.

    What the last row does not say was logged at other times, and the summary is right to keep it.
    """
    last = dict(zip(names, values[-1].tolist(), strict=True)) if len(values) else {}
    said = {name: number(summary.get(name)) for name, value in last.items() if not math.isnan(value)}
    return {name: value for name, value in said.items() if value != last[name]}
