"""The record of a cell: `RUNS/<identity>/record.jsonl`, append-only, the truth about one run.

Its lines, in order:
    {"event": "cell", "schema": 1, "identity", "name", "overrides", "config", "parameters", "multiply_adds"}
    {"event": "attempt", "attempt": 1, "step": 0, "time", "commit", "dirty", "versions", "hardware", ...}
    {"event": "epoch", "epoch": 1, "step": 391, "train/loss", "train/error", "test/error", ..., "seconds"}
    {"event": "status", "status": "finished" | "diverged" | "failed", "step", "time", ...}
A run that was interrupted has no status after its last attempt; the next attempt starts at the step of a
checkpoint, and epochs beyond that step are superseded by those that it writes. Errors are in percent,
times in seconds (UNIX time for "time"), steps are optimizer steps. This module needs no torch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning_module.cell.identity import Cell
from lightning_module.support.disk import DiskCache, is_held

SCHEMA = 1
FILE = "record.jsonl"
START_LOCK = "start.lock"
"""Held, besides the lock of rank 0, by the process that starts several ranks: from before they start to their end."""
State = Literal["planned", "running", "killed", "finished", "diverged", "failed", "damaged"]

FINAL: tuple[State, ...] = ("finished", "diverged")
"""States that are results: never run again."""
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "cell": ("schema", "identity", "name", "overrides", "config", "parameters", "multiply_adds"),
    "attempt": ("step",),
    "epoch": ("epoch", "step", "seconds"),
    "status": ("status", "step"),
}
"""Keys that a line of each event must have, because readers count on them."""
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("identity", "name", "event", "status", "error"), (str,)),
    **dict.fromkeys(("schema", "attempt", "epoch", "step", "parameters", "multiply_adds"), (int,)),
    **dict.fromkeys(("time", "seconds"), (int, float)),
    "overrides": (list,),
    "config": (dict,),
}
"""Types of values, wherever a line has them."""


class RecordError(Exception):
    """A record that cannot be read or written; its text is one sentence that names the file and what to do."""


@dataclass(frozen=True)
class Record:
    """What is known of a cell. `epochs` holds one line per epoch, those of superseded attempts left out."""

    folder: Path
    cell: Mapping[str, Any]
    attempts: tuple[Mapping[str, Any], ...] = ()
    epochs: tuple[Mapping[str, Any], ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    state: State = "planned"
    damage: str = ""

    @property
    def last(self) -> Mapping[str, Any]:
        """The line of the last epoch, {} before the first."""
        return self.epochs[-1] if self.epochs else {}

    @property
    def newer(self) -> bool:
        """Whether a later version of this program wrote it, so that this one can do nothing with it."""
        return _is_newer(self.cell)


def _is_newer(head: Mapping[str, Any]) -> bool:
    schema = head.get("schema")
    return isinstance(schema, int) and schema > SCHEMA


def _wrong(line: Mapping[str, Any], first: bool) -> str:
    """What is wrong with a line that is JSON, as the end of a sentence; "" if nothing is."""
    event = line.get("event")
    if first != (event == "cell"):
        return "a record starts with its cell" if first else "only its first line is its cell"
    if not isinstance(event, str):
        return "it names no event"
    for key in _REQUIRED.get(event, ()):
        if key not in line:
            return f"its {key} is missing"
    others = (int, float) if event == "epoch" else ()  # its metrics
    for key, value in line.items():
        kinds = _KINDS.get(key, others)
        if kinds and type(value) not in kinds:  # by `type`, since True is an int
            return f"its {key} is {json.dumps(value)}"
    if event == "status" and line["status"] not in ("finished", "diverged", "failed"):
        return f"its status is {json.dumps(line['status'])}"
    return ""


def _decoded(row: bytes) -> Any:
    """A line of JSON; None if it is cut short or was never one."""
    try:
        return json.loads(row) if row.endswith(b"\n") else None
    except ValueError:
        return None


def _parse(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Lines of a record and how many bytes they take; a last line that was cut short is left out.

    Raises RecordError when a line is damaged in another way. Of a newer record only the first line is looked at.
    """
    try:
        rows = path.read_bytes().splitlines(keepends=True)
    except (FileNotFoundError, NotADirectoryError):
        return [], 0
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror})") from error
    lines: list[dict[str, Any]] = []
    length = 0
    for number, row in enumerate(rows, start=1):
        line = _decoded(row)
        if line is None and number == len(rows):
            break
        wrong = _wrong(line, number == 1) if isinstance(line, dict) else "it is not one of JSON"
        if number == 1 and isinstance(line, dict) and _is_newer(line):
            return [line], len(row)
        if wrong:
            raise RecordError(
                f"{path} is damaged in line {number} ({wrong}); nothing was changed: "
                "repair the line or move the folder away"
            )
        lines.append(line)
        length += len(row)
    return lines, length


def read(folder: Path) -> Record:
    """The record in a run folder, which is named by its cell; the one reader of a cell's state, for every command.

    A record that is damaged, or of another cell than the folder's, comes back with `damage` set and nothing else.
    """
    path = folder / FILE
    try:
        lines, _ = _parse(path)
    except RecordError as error:
        return Record(folder, {}, state="damaged", damage=str(error))
    if not lines:
        return Record(folder, {})
    head = lines[0]
    if _is_newer(head):
        damage = f"{path} has schema {head['schema']}, newer than this program's {SCHEMA}: update the program"
        return Record(folder, head, state="damaged", damage=damage)
    if head["identity"] != folder.name:
        damage = f"{path} is the record of cell {head['identity']}: move it away"
        return Record(folder, {}, state="damaged", damage=damage)
    attempts: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    status: dict[str, Any] = {}
    for line in lines[1:]:
        event = line["event"]
        if event == "attempt":
            attempts.append(line)
            epochs = [epoch for epoch in epochs if epoch["step"] <= line["step"]]
            events = [other for other in events if other.get("step", 0) <= line["step"]]
            status = {}
        elif event == "epoch":
            while epochs and epochs[-1]["epoch"] >= line["epoch"]:
                epochs.pop()
            epochs.append(line)
        elif event == "status":
            status = line
        else:
            events.append(line)
    state: State = status["status"] if status else ("running" if is_locked(folder) else "killed")
    return Record(folder, head, tuple(attempts), tuple(epochs), tuple(events), status, state)


def read_all(runs: Path) -> dict[str, Record]:
    """identity -> record of every run folder in a runs folder."""
    return {path.parent.name: read(path.parent) for path in sorted(runs.glob(f"*/{FILE}"))}


def read_states(runs: Path, identities: Iterable[str]) -> dict[str, State]:
    """identity -> state as `read` finds it, fast for thousands of cells: reading takes about 1 ms a record.

    That a cell has its result is kept in the runs folder, for as long as size and time of its record stay the same.
    """
    cache = DiskCache(".results", [Path(__file__)], runs)
    before = cache.get("results") or {}
    states: dict[str, State] = {}
    results = {}
    for identity in identities:
        try:
            about = os.stat(runs / identity / FILE)
            key = [about.st_size, about.st_mtime_ns]
        except OSError:  # mostly a cell that was never run
            key = []
        known = before.get(identity)
        state = known[1] if known and known[0] == key else read(runs / identity).state
        states[identity] = state
        if state in FINAL:
            results[identity] = [key, state]
    if any(before.get(identity) != result for identity, result in results.items()):
        cache.put("results", before | results)
    return states


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine (or of any, where the file system shares locks) runs this cell."""
    return any(is_held(folder / file) for file in ("lock", START_LOCK))


class Writer:
    """Appends to a record. Every line is written and synced at once, so a kill loses at most that line.

    RecordError when the disk does not take a line; the record then ends with the line before.
    """

    def __init__(self, folder: Path, cell: Cell) -> None:
        """Open the record of `cell` in `folder`, which the caller has locked; start it if it is new.

        Raises RecordError on a record that is damaged, newer, or of another cell.
        """
        before = read(folder)
        if before.damage:
            raise RecordError(before.damage)
        self.attempt = len(before.attempts) + 1
        self._file = open(folder / FILE, "ab", buffering=0)  # noqa: SIM115 (open for as long as the run)
        self._file.truncate(_parse(folder / FILE)[1])
        if not before.cell:
            self._append({"event": "cell", "schema": SCHEMA, **cell.to_json()})

    def _append(self, line: Mapping[str, Any]) -> None:
        rest = json.dumps(line, default=float).encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            while rest:  # a disk that is nearly full takes a part and says so only the next time
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(before)  # else the next line would be joined to a part of this one
            raise RecordError(
                f"{self._file.name} cannot be written ({error.strerror}); what it holds is whole, "
                "and the same command goes on from there"
            ) from error

    def start(self, step: int, provenance: Mapping[str, Any]) -> None:
        """A new attempt, from this step on."""
        line = {"event": "attempt", "attempt": self.attempt, "step": step, "time": time.time()}
        self._append({**line, **provenance})

    def epoch(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics at the end of an epoch (1, 2, ...)."""
        self._append({"event": "epoch", "epoch": epoch, "step": step, **metrics})

    def event(self, kind: str, **content: Any) -> None:
        """A fact about the run, such as its layer responses."""
        self._append({"event": kind, **content})

    def finish(self, status: Literal["finished", "diverged", "failed"], step: int, **content: Any) -> None:
        """The end of the run; nothing follows unless the cell is run again after a failure."""
        self._append({"event": "status", "status": status, "step": step, "time": time.time(), **content})

    def close(self) -> None:
        """Close the file; the lock of the folder is the caller's."""
        self._file.close()
