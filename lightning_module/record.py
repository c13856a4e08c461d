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

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from ablations.cell import Cell, ConfigError

SCHEMA = 1
FILE = "record.jsonl"
State = Literal["planned", "running", "killed", "finished", "diverged", "failed", "damaged"]
READERS_SECONDS = 1.0
"""How long a writer waits for readers of its lock to look."""

FINAL: tuple[State, ...] = ("finished", "diverged")
"""States that are results: never run again."""


class RecordError(Exception):
    """A record that cannot be read; its text is one sentence that names the file and what to do."""


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


def _parse(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Lines of a record and how many bytes they take; a last line that was cut short is left out.

    Raises RecordError when a line before the last is damaged.
    """
    rows = path.read_bytes().splitlines(keepends=True)
    lines: list[dict[str, Any]] = []
    length = 0
    for number, row in enumerate(rows, start=1):
        try:
            line = json.loads(row) if row.endswith(b"\n") else None
        except ValueError:
            line = None
        if not isinstance(line, dict):
            if number == len(rows):
                break
            raise RecordError(
                f"{path} is damaged in line {number}; nothing was changed: repair the line or move the folder away"
            )
        lines.append(line)
        length += len(row)
    return lines, length


def read(folder: Path) -> Record:
    """The record in a run folder, whatever state it is in; a damaged one comes back with `damage` set."""
    path = folder / FILE
    try:
        lines, _ = _parse(path)
    except FileNotFoundError:
        return Record(folder, {})
    except RecordError as error:
        return Record(folder, {}, state="damaged", damage=str(error))
    if not lines:
        return Record(folder, {})
    head = lines[0]
    if head.get("event") != "cell":
        return Record(
            folder, {}, state="damaged", damage=f"{path} does not start with its cell; move it away"
        )
    if head.get("schema", 0) > SCHEMA:
        damage = f"{path} has schema {head['schema']}, newer than this program's {SCHEMA}: update the program"
        return Record(folder, head, state="damaged", damage=damage)
    attempts: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    status: dict[str, Any] = {}
    for line in lines[1:]:
        event = line.get("event")
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


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine (or of any, where the file system shares locks) runs this cell."""
    try:
        handle = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return False  # never run, or not for us to read
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(handle)


class Lock:
    """Held while a cell runs; the kernel releases it however the process ends. `with Lock(folder): ...`

    Raises Busy if another process holds it, ConfigError if the folder is not writable or cannot be locked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handle = -1

    def __enter__(self) -> Lock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ConfigError(
                f"runs={self.folder.parent} is not a folder one can write to ({error.strerror}); "
                "choose another with runs=FOLDER"
            ) from error
        # A reader holds it for a moment to find out whether anybody else does: see is_locked.
        end = time.monotonic() + READERS_SECONDS
        while True:
            try:
                fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(self.handle)
                    raise Busy(f"{self.folder.name} is being run by another process: left to it") from None
                time.sleep(0.01)
            except OSError as error:
                os.close(self.handle)
                raise ConfigError(
                    f"runs={self.folder.parent} is on a file system that cannot lock files ({error.strerror}); "
                    "choose another with runs=FOLDER, or mount it with locks (Lustre: -o flock)"
                ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.handle)


class Busy(Exception):
    """Another process runs this cell."""


class Writer:
    """Appends to a record. Every line is one `write` followed by fsync, so a kill loses at most that line."""

    def __init__(self, folder: Path, cell: Cell) -> None:
        """Open the record of `cell` in `folder`, which the caller has locked; start it if it is new.

        Raises RecordError on a record that is damaged, newer, or of another cell.
        """
        before = read(folder)
        if before.damage:
            raise RecordError(before.damage)
        if before.cell and before.cell["identity"] != cell.identity:
            raise RecordError(f"{folder} holds the record of cell {before.cell['identity']}: move it away")
        self.attempt = len(before.attempts) + 1
        self._file = open(folder / FILE, "ab", buffering=0)  # noqa: SIM115 (open for as long as the run)
        self._file.truncate(_parse(folder / FILE)[1])
        if not before.cell:
            self._append({"event": "cell", "schema": SCHEMA, **cell.to_json()})

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, default=float).encode() + b"\n")
        os.fsync(self._file.fileno())

    def start(self, step: int, provenance: Mapping[str, Any]) -> None:
        """A new attempt, from this step on."""
        line = {"event": "attempt", "attempt": self.attempt, "step": step, "time": time.time()}
        self._append({**line, **provenance})

    def epoch(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics at the end of an epoch (1, 2, ...)."""
        self._append({"event": "epoch", "epoch": epoch, "step": step, **metrics})

    def event(self, kind: str, **content: Any) -> None:
        """Anything else worth keeping, such as the layer responses."""
        self._append({"event": kind, **content})

    def finish(self, status: Literal["finished", "diverged", "failed"], step: int, **content: Any) -> None:
        """The end of the run; nothing follows unless the cell is run again after a failure."""
        self._append({"event": "status", "status": status, "step": step, "time": time.time(), **content})

    def close(self) -> None:
        """Release the file."""
        self._file.close()
