"""A parsed run, whatever it was parsed from, and the frames of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.verdicts.results import frozen
from lightning_module.cell import record
from lightning_module.cell.record import last_event
from reports.sources import HISTORY_COLUMNS, RUN_COLUMNS, Frames, is_metric
from reports.sources._sweeps import declared


@dataclass(frozen=True)
class ParsedRun:
    """One run as a source parsed it, in the terms of its record.

    key: the state of what it was parsed from (files' sizes and times, a heartbeat); checksum: of its content.
    cell, attempt, status: lines of the record, without "event"; attempt is the last one, {} if there is none.
    names, rows: the history, a row per epoch that counts, a column per name.
    damage: why it cannot be trusted, "" if it can; note: what else there is to say about it.
    summary: as in `reports.sources.Frames`. sweeps: what it carries of them, see `tracking.sweeps`.
    foreign: it is on W&B, but not one of ours.
    """

    cell: Mapping[str, Any]
    attempt: Mapping[str, Any]
    attempts: int
    status: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    damage: str
    names: tuple[str, ...]
    rows: np.ndarray[Any, np.dtype[np.float64]]
    note: str = ""
    summary: Mapping[str, float | None] = field(default_factory=dict)
    sweeps: Mapping[str, Any] = field(default_factory=dict)
    foreign: bool = False
    key: str = ""
    checksum: str = ""


def frames(folder: Path, parsed: Mapping[str, ParsedRun]) -> Frames:
    """Parsed runs by identity, in its order -> the schema of `reports.sources`; folder: with the runs' locks."""
    names, values = list(parsed), parsed.values()
    history = _history(parsed)
    by_run = history.groupby("identity", observed=False, sort=False)
    last = by_run.tail(1).set_index("identity").reindex(names)
    counts = ("attempts", "devices", "parameters", "multiply_adds")
    kinds = {"identity": object, "dirty": bool, **dict.fromkeys(counts, float)}
    heads = [_run(folder, name, run) for name, run in parsed.items()]
    runs = pd.DataFrame(heads, columns=list(RUN_COLUMNS)).astype(kinds)
    for column in ("epoch", "step"):
        runs[column] = last[column].fillna(0).to_numpy().astype(int)
    runs["seconds"] = _aggregate(by_run, "seconds", "sum", names)
    runs["images_per_second"] = _aggregate(by_run, "images_per_second", "median", names)
    columns = config_columns([frozen(run.cell.get("config", {})) for run in values])
    metrics = {column: last[column].to_numpy() for column in history.columns if is_metric(column)}
    runs = pd.concat([runs, pd.DataFrame(columns | metrics, index=runs.index)], axis=1)
    events = {name: run.events for name, run in parsed.items() if run.events}
    summaries = {name: run.summary for name, run in parsed.items() if run.summary}
    return Frames(runs, history, events, summaries, declared(run.sweeps for run in values))


def _aggregate(groups: Any, column: str, how: str, names: Sequence[str]) -> Any:
    """One number per run from a history column that may not have been logged: NaN then."""
    if column not in groups.obj.columns:
        return np.full(len(names), np.nan)
    return groups[column].agg(how).reindex(names).to_numpy(dtype=float)


def _history(parsed: Mapping[str, ParsedRun]) -> pd.DataFrame:
    """All epochs of all runs under each other."""
    names = list(HISTORY_COLUMNS[1:])
    names += sorted({name for run in parsed.values() for name in run.names} - set(names))
    place = {name: index for index, name in enumerate(names)}
    lengths = [len(run.rows) for run in parsed.values()]
    numbers = np.full((len(names), sum(lengths)), np.nan)
    start = 0
    for run, length in zip(parsed.values(), lengths, strict=True):
        for index, name in enumerate(run.names):
            numbers[place[name], start : start + length] = run.rows[:, index]
        start += length
    history = pd.DataFrame(numbers.T, columns=names, copy=False)
    codes = np.repeat(np.arange(len(parsed)), lengths)
    identity = pd.Categorical.from_codes(codes, categories=pd.Index(list(parsed), dtype=object))
    history.insert(0, "identity", pd.Series(identity))
    return history


def _run(folder: Path, name: str, run: ParsedRun) -> dict[str, Any]:
    """The RUN_COLUMNS of one run that do not come from its history."""
    cell, attempt, status = run.cell, run.attempt, run.status
    state = status.get("status", "killed")
    if run.damage:
        state = "damaged"
    elif not status and record.is_locked(folder / name):
        state = "running"  # asked every time: a lock is not in the file, so not in the cache
    # Where the last attempt that reached a W&B server is to be seen.
    address = last_event(run.events, "wandb").get("url", "")
    return {
        "identity": name,
        "name": cell.get("name", name),
        "state": state,
        "reason": run.damage or str(status.get("reason", status.get("error", ""))) or run.note,
        "attempts": run.attempts,
        "parameters": cell.get("parameters", np.nan),
        "multiply_adds": cell.get("multiply_adds", np.nan),
        "commit": str(attempt.get("commit", "")),
        "dirty": bool(attempt.get("dirty", False)),
        "versions": _one_line(attempt.get("versions")),
        "hardware": _one_line(attempt.get("hardware")),
        "images": _images(cell.get("config", {}), attempt),
        "devices": attempt.get("devices", 1),
        "job": _one_line(attempt.get("job")),
        "url": str(attempt.get("url") or address),
        "checksum": run.checksum,
    }


def _images(config: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    """The data set with the checksum of its images: "cifar10 47cbc0bf"; "" where no checksum was recorded."""
    realised = attempt.get("realised")
    checksum = realised.get("images_crc32") if isinstance(realised, Mapping) else None
    return f"{config.get('data.name', '')} {checksum}".strip() if checksum else ""


def _one_line(value: Any) -> str:
    """Provenance as one line: {"torch": "2.13.0", "python": "3.11.7"} -> "python 3.11.7, torch 2.13.0"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value[key]}" for key in sorted(value) if value[key] not in (None, ""))
    return "" if value is None else str(value)


def config_columns(configs: Sequence[Mapping[str, Any]]) -> dict[str, pd.Series]:
    """A column for each key of these configurations: plain values, None where one lacks the key."""
    keys = sorted({key for config in configs for key in config})
    return {key: pd.Series([config.get(key) for config in configs], dtype=object) for key in keys}
