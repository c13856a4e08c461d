"""What W&B holds of a run, on the server or in a file, as a parsed run. Pure functions, which raise for no run.

A project on W&B is shared: a run is ours only if its configuration says so, see `identity_of`; all others are foreign.
What W&B holds of ours may have been edited by hand, and is checked as the lines of a record are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from lightning_module.cell.identity import RESULT_KEYS, flatten
from lightning_module.cell.record import SCHEMA, State
from lightning_module.cell.record_lines import DEEPEST
from lightning_module.cell.record_values import shown, wrong, wrong_setting
from lightning_module.tracking.wandb_server import run_ids
from reports.sources import is_config
from reports.sources._frames import ParsedRun

OURS = ("cell", "attempt", "sweeps", "_wandb", "wandb_version")
"""Configuration keys on W&B that are not the configuration of the cell."""
PARTS = {key.partition(".")[0] for key in RESULT_KEYS} - {"seed"}
ENDS = ("finished", "diverged", "failed")
LARGEST = 1 << 53
"""Beyond it floats have no room for every integer."""
BARE = object()
"""In place of a configuration value that W&B does not hold as it holds values."""

Rows = np.ndarray[Any, np.dtype[np.float64]]


class Damaged(ValueError):
    """What W&B holds of a run of ours was never written by us; the text says what is wrong with it."""


def identity_of(run_id: str, config: Any) -> str | None:
    """The identity of the cell whose run this is; None for somebody else's run."""
    cell = config.get("cell") if isinstance(config, Mapping) else None
    if not isinstance(cell, Mapping) or type(cell.get("schema")) is not int or cell["schema"] != SCHEMA:
        return None
    identity = cell.get("identity")
    is_ours = (
        isinstance(identity, str) and re.fullmatch("[0-9a-f]{12}", identity) and run_id in run_ids(identity)
    )
    return identity if is_ours else None


def decoded(text: Any) -> Any:
    """The value of a text of JSON, {} for none; what is not JSON comes back as it is, and is no mapping."""
    if not isinstance(text, str) or not text:
        return text or {}
    try:
        value = json.loads(text)
        # Half a character, which JSON can spell and no file can hold.
        return _whole_characters(value) if "\\ud" in text or "\\uD" in text else value
    except (ValueError, RecursionError):
        return text


def _whole_characters(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole_characters(each) for each in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def config_values(config: Any) -> Any:
    """The values of a configuration as the server has it, {"seed": {"value": 1}, ...}; BARE for what is none."""
    if not isinstance(config, Mapping):
        return config
    return {
        key: item["value"] if isinstance(item, Mapping) and "value" in item else BARE
        for key, item in config.items()
    }


def surviving_rows(rows: Iterable[Any], attempt: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows that count, by epoch: what a resumed attempt ran again replaces what was there before it.

    attempt: the last one. Rows logged before it about steps beyond its first step are superseded, as in the
    record. Raises Damaged for what is no row of ours.
    """
    start, time = attempt.get("step", math.inf), attempt.get("time", 0)
    kept: dict[float, Mapping[str, Any]] = {}
    for row in rows:
        if not isinstance(row, Mapping):
            raise Damaged(f"a row of its history is {shown(row)}")
        if "epoch" not in row:
            continue
        epoch, step, logged = row["epoch"], row.get("step", 0), row.get("_timestamp", 0)
        try:
            in_range = 0 <= epoch <= LARGEST and 0 <= step <= LARGEST and 0 <= logged <= LARGEST
        except TypeError:
            in_range = False
        if not in_range:
            raise Damaged(f"a row of its history has {_odd_place(row)}")
        if not (step > start and "_timestamp" in row and logged < time):
            kept[epoch] = _flat(row)
    return [kept[epoch] for epoch in sorted(kept)]


def _flat(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row, or a summary, with the path of each number as its key: "val.epoch". Media are left out."""
    if dict not in map(type, row.values()):
        return row
    if _too_deep(row, DEEPEST + 2):
        raise Damaged("its history or summary is nested too deeply")
    plain = {key: value for key, value in row.items() if not (isinstance(value, dict) and "_type" in value)}
    return flatten(plain)


def _odd_place(row: Mapping[str, Any]) -> str:
    """What in a row, or a summary, is no epoch, step or time; "" if nothing is."""
    for key in ("epoch", "step", "_timestamp"):
        value = row.get(key, 0)
        if not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            return f"{key}={shown(value)}"
    return ""


def numbers(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], Rows]:
    """Names and values (rows × names) of what is a number in these rows; W&B's own keys are left out."""
    names = tuple(
        sorted({key for row in rows for key in row if not key.startswith("_") and key != "identity"})
    )
    try:  # rows that are alike, which is nearly always: ten times faster
        values = np.array([list(map(row.__getitem__, names)) for row in rows], dtype=np.float64)
    except (KeyError, ValueError, TypeError, OverflowError):
        parsed = [{key: number(row.get(key)) for key in names} for row in rows]
        names = tuple(name for name in names if any(row[name] is not None for row in parsed))
        values = np.array([[row[name] for name in names] for row in parsed], dtype=np.float64)
    return names, values.reshape(len(rows), len(names))


def number(value: Any) -> float | None:
    """A number as W&B spells it ("NaN", "Infinity" are texts there); None if it is something else."""
    try:
        return (
            float(value)
            if isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity")
            else None
        )
    except OverflowError:
        return None


def parsed_run(
    run_id: str,
    config: Any,
    summary: Any,
    rows: Iterable[Any],
    *,
    key: str = "",
    running: bool = False,
    damage: str = "",
    note: str = "",
    url: str = "",
    checksum: str = "",
) -> ParsedRun:
    """A run of W&B in the terms of a record; running: whether it is, as far as W&B knows.

    config, summary, rows: as they were decoded, whatever they are. Foreign and damaged runs come back empty.
    """
    identity = identity_of(run_id, config)
    about: dict[str, Any] = {"key": key, "checksum": checksum, "note": note}
    if identity is None:
        return ParsedRun({}, {}, 0, {}, [], "", (), np.empty((0, 0)), foreign=True, **about)
    try:
        cell, attempt, status, events = _lines(config, summary)
        names, values = numbers(surviving_rows(rows, attempt))
        said = summary_differences(_flat(summary), names, values)
    except Damaged as error:
        return damaged_run(identity, error, url, **about)
    return ParsedRun(
        cell=cell | {"identity": identity},
        attempt=attempt | ({"url": url} if url else {}),
        attempts=attempt.get("attempt", 0),
        status=status or ({"status": "running"} if running else {}),
        events=events,
        damage=damage,
        names=names,
        rows=values,
        summary=said,
        sweeps=sweeps if isinstance(sweeps := config.get("sweeps"), Mapping) else {},
        **about,
    )


def damaged_run(identity: str, error: Damaged, url: str = "", **about: Any) -> ParsedRun:
    """A run of ours of which nothing can be believed, and why."""
    damage = f"what W&B holds of it is damaged: {error}"
    cell = {"identity": identity, "name": identity, "config": {}}
    attempt = {"url": url} if url else {}
    return ParsedRun(cell, attempt, 0, {}, [], damage, (), np.empty((0, 0)), **about)


def _lines(
    config: Mapping[str, Any], summary: Any
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Cell, last attempt, status ({} if it has none) and events; Damaged for what no record could hold."""
    for name, value in config.items():
        if value is BARE and name not in ("_wandb", "wandb_version"):
            raise Damaged(f"its config has {name} without a value")
    own = {name: value for name, value in config.items() if name not in OURS}
    attempt = config.get("attempt", {})
    parts = {name: own[name] for name in PARTS if name in own}
    for name, value in (parts | {"attempt": attempt, "summary": summary}).items():
        if not isinstance(value, dict):
            raise Damaged(f"its {name} is {shown(value)}")
    if odd := _odd_place(summary):
        raise Damaged(f"its summary has {odd}")
    events = summary.get("events", [])
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise Damaged("its events are no list of mappings")
    status = {word: summary[word] for word in ("status", "reason", "error") if word in summary}
    for name, part in (("config", own), ("cell", config["cell"]), ("attempt", attempt), ("events", events)):
        if _too_deep(part, DEEPEST):
            raise Damaged(f"its {name} is nested too deeply")
    flat = {key: value for key, value in flatten(own).items() if is_config(key) or key == "mode"}
    cell = {**config["cell"], "event": "cell", "config": flat}
    found = wrong_setting(flat) or wrong(cell, first=True)
    end = {"step": 0, **status, "status": "failed", "event": "status"}
    for line in ({"step": 0, **attempt, "event": "attempt"}, end, *events):
        found = found or wrong(line, first=False)
    state = status.get("status", "running")
    if found or state not in get_args(State):
        raise Damaged(found or f"its status is {shown(state)}")
    del cell["event"]
    return cell, attempt, status if state in ENDS else {}, events


def _too_deep(value: Any, left: int) -> bool:
    each = value.values() if isinstance(value, dict) else value
    return not left or any(_too_deep(part, left - 1) for part in each if isinstance(part, dict | list))


def summary_differences(
    summary: Mapping[str, Any], names: Sequence[str], values: Rows
) -> dict[str, float | None]:
    """The numbers of a summary that are not those of the last row (None: not in it); {} if there are no rows.

    What the last row does not say was logged at other times, and the summary is right to keep it.
    """
    last = dict(zip(names, values[-1].tolist(), strict=True)) if len(values) else {}
    said = {name: number(summary.get(name)) for name, value in last.items() if not math.isnan(value)}
    return {name: value for name, value in said.items() if value != last[name]}
