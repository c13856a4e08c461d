"""Source `records`: a runs folder, read through a cache of parsed records keyed by path, size and mtime."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.sweep.manifest import Manifest
from lightning_module.cell import record
from lightning_module.support.errors import ConfigError
from reports.sources import HISTORY_COLUMNS, RUN_COLUMNS, Frames, attribute_text

CACHE = ".records.npz"
CACHE_VERSION = 2
COSTS = ("parameters", "multiply_adds")


@dataclass(frozen=True)
class Entry:
    """One parsed record. key: what its file was like; head: all but the history; rows: epochs × `names`."""

    key: tuple[int, int]
    head: Mapping[str, Any]
    names: tuple[str, ...]
    rows: np.ndarray[Any, np.dtype[np.float64]]


def load(where: str, manifest: Manifest | None) -> Frames:
    """Runs, histories and events of a runs folder; ConfigError if it is not a folder that one can read."""
    folder = Path(where)
    if not folder.is_dir():
        raise ConfigError(f"runs={where} is not a folder; train something first with python run.py")
    try:
        found = {entry.name for entry in os.scandir(folder)}
    except OSError as error:
        raise ConfigError(f"runs={where} cannot be read ({error.strerror})") from error
    wanted = found if manifest is None else found & {cell["identity"] for cell in manifest.cells}
    cached = _read_cache(folder)
    entries: dict[str, Entry] = {}
    for name in sorted(wanted):
        try:
            stat = os.stat(folder / name / record.FILE)
        except OSError:
            continue
        key = (stat.st_size, stat.st_mtime_ns)
        old = cached.get(name)
        entries[name] = old if old is not None and old.key == key else _parse(folder / name, key)
    if any(cached.get(name) is not entry for name, entry in entries.items()):
        _write_cache(folder, {name: entry for name, entry in (cached | entries).items() if name in found})
    return frames(folder, entries)


def _parse(folder: Path, key: tuple[int, int]) -> Entry:
    """Read one record for the cache."""
    got = record.read(folder)
    head = {
        "cell": dict(got.cell),
        "attempt": got.attempts[-1] if got.attempts else {},
        "attempts": len(got.attempts),
        "status": dict(got.status),
        "damage": got.damage.replace(f"{folder.parent}{os.sep}", ""),
        "events": list(got.events),
        "checksum": _digest(folder / record.FILE),
    }
    names = tuple(sorted({k for line in got.epochs for k, v in line.items() if isinstance(v, int | float)}))
    rows = np.array([[line.get(name, np.nan) for name in names] for line in got.epochs], dtype=np.float64)
    return Entry(key, head, names, rows.reshape(len(got.epochs), len(names)))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError:
        return ""


def _read_cache(folder: Path) -> dict[str, Entry]:
    """What an earlier report parsed; {} when there is nothing usable (it is only a cache)."""
    entries: dict[str, Entry] = {}
    try:
        with np.load(folder / CACHE, allow_pickle=False) as file:
            index, numbers = json.loads(file["index"].tobytes()), file["numbers"]
        if index["version"] != CACHE_VERSION:
            return {}
        start = 0
        for name, size, mtime, head, names, length in index["entries"]:
            stop = start + length * len(names)
            rows = numbers[start:stop].reshape(length, len(names))
            entries[name] = Entry((size, mtime), head, tuple(names), rows)
            start = stop
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    return entries


def _write_cache(folder: Path, entries: Mapping[str, Entry]) -> None:
    """Replace the cache atomically; a folder that cannot be written to does without."""
    lines = [[name, *entry.key, entry.head, entry.names, len(entry.rows)] for name, entry in entries.items()]
    index = json.dumps({"version": CACHE_VERSION, "entries": lines}).encode()
    numbers = np.concatenate([entry.rows.ravel() for entry in entries.values()])
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, index=np.frombuffer(index, np.uint8), numbers=numbers)
        os.replace(temporary, folder / CACHE)
    except OSError:
        return


def frames(folder: Path, entries: Mapping[str, Entry]) -> Frames:
    """Parsed records (by identity) -> the schema of `reports.sources`."""
    history = _history(entries)
    by_run = history.groupby("identity", observed=False, sort=False)
    last = by_run.tail(1).set_index("identity")
    metrics = [column for column in history.columns if "/" in column]
    heads = [_run(folder, name, entry) for name, entry in entries.items()]
    kinds = {"identity": object, "dirty": bool, **dict.fromkeys(("attempts", "devices", *COSTS), float)}
    runs = pd.DataFrame(heads, columns=list(RUN_COLUMNS)).astype(kinds)
    names = list(entries)
    runs["epoch"] = last["epoch"].reindex(names).fillna(0).to_numpy().astype(int)
    runs["step"] = last["step"].reindex(names).fillna(0).to_numpy().astype(int)
    runs["seconds"] = _aggregate(by_run, "seconds", "sum", names)
    runs["images_per_second"] = _aggregate(by_run, "images_per_second", "median", names)
    configs = [_config(entry.head["cell"].get("config", {})) for entry in entries.values()]
    keys = sorted({key for config in configs for key in config})
    columns = {key: pd.Series([config.get(key) for config in configs], dtype=object) for key in keys}
    values = {metric: last[metric].reindex(names).to_numpy() for metric in metrics}
    runs = pd.concat([runs, pd.DataFrame(columns | values, index=runs.index)], axis=1)
    events = {name: entry.head["events"] for name, entry in entries.items() if entry.head["events"]}
    summaries = {name: entry.head["summary"] for name, entry in entries.items() if entry.head.get("summary")}
    return Frames(runs, history, events, summaries)


def _aggregate(groups: Any, column: str, how: str, names: Sequence[str]) -> Any:
    """One number per run from a history column that may not have been logged: NaN then."""
    if column not in groups.obj.columns:
        return np.full(len(names), np.nan)
    return groups[column].agg(how).reindex(names).to_numpy(dtype=float)


def _history(entries: Mapping[str, Entry]) -> pd.DataFrame:
    """All epochs of all records under each other."""
    names = list(HISTORY_COLUMNS[1:])
    names += sorted({name for entry in entries.values() for name in entry.names} - set(names))
    place = {name: index for index, name in enumerate(names)}
    lengths = [len(entry.rows) for entry in entries.values()]
    numbers = np.full((len(names), sum(lengths)), np.nan)
    start = 0
    for entry, length in zip(entries.values(), lengths, strict=True):
        for index, name in enumerate(entry.names):
            numbers[place[name], start : start + length] = entry.rows[:, index]
        start += length
    history = pd.DataFrame(numbers.T, columns=names, copy=False)
    codes = np.repeat(np.arange(len(entries)), lengths)
    identity = pd.Categorical.from_codes(codes, categories=pd.Index(list(entries), dtype=object))
    history.insert(0, "identity", pd.Series(identity))
    return history


def _run(folder: Path, name: str, entry: Entry) -> dict[str, Any]:
    """The RUN_COLUMNS of one record that do not come from its history."""
    head, status = entry.head, entry.head["status"]
    cell, attempt = head["cell"], head["attempt"]
    state = status.get("status", "killed")
    reason = str(status.get("reason", status.get("error", "")))
    if head["damage"]:
        state, reason = "damaged", head["damage"]
    elif not status and record.is_locked(folder / name):
        state = "running"  # asked every time: a lock is not in the file, so not in the cache
    return {
        "identity": name,
        "name": cell.get("name", name),
        "state": state,
        "reason": reason,
        "attempts": head["attempts"],
        "parameters": cell.get("parameters", np.nan),
        "multiply_adds": cell.get("multiply_adds", np.nan),
        "commit": str(attempt.get("commit", "")),
        "dirty": bool(attempt.get("dirty", False)),
        "versions": attribute_text(attempt.get("versions")),
        "hardware": attribute_text(attempt.get("hardware")),
        "devices": attempt.get("devices", 1),
        "job": attribute_text(attempt.get("job")),
        "url": attribute_text(attempt.get("url") or _address(head["events"])),
        "checksum": head["checksum"],
    }


def _address(events: Sequence[Mapping[str, Any]]) -> str:
    """Where the last attempt that reached a W&B server is to be seen, "" if none did."""
    return next((str(event["url"]) for event in reversed(events) if event.get("event") == "wandb"), "")


def _config(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as the schema wants it: sequences as tuples, so that levels can be compared."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in flat.items()}
