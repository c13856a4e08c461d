"""The record of a cell: `RUNS/<identity>/record.jsonl`, append-only, the truth about one run.

Its lines, in order:
    {"event": "cell", "schema": 1, "identity", "name", "overrides", "config", "parameters", "multiply_adds"}
    {"event": "attempt", "attempt": 1, "step": 0, "time", "commit", "dirty", "versions", "hardware", ...}
    {"event": "epoch", "epoch": 1, "step": 391, "train/loss", "train/error", "test/error", ..., "seconds"}
    {"event": "right_images", "step": 64000, "test": "test", "images": 10000, "error", "top5_error"}
    {"event": "status", "status": "finished" | "diverged" | "failed", "step", "time", ...}
A run is finished only with every epoch, in order, the last one at the last step of its recipe. One that was
interrupted has no status after its last attempt; the next attempt starts at the step of a checkpoint, and epochs
beyond that step are superseded by those that it writes. `right_images` comes at the last step, once for each test: the
images behind `test/error` as the base64 of numpy.packbits, where bit i is 1 if image i of the test set was right; an
older program did not write it. Errors are in percent, times in seconds (UNIX time for "time"), steps are optimizer
steps. What a line may hold, and its checksum: record_lines.py. Needs no torch.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning_module.cell.identity import Cell
from lightning_module.cell.record_lines import SCHEMA as SCHEMA
from lightning_module.cell.record_lines import RecordError as RecordError
from lightning_module.cell.record_lines import damaged, is_newer, read_lines, sealed
from lightning_module.support.disk import DiskCache, is_held

FILE = "record.jsonl"
START_LOCK = "start.lock"
"""Held, besides the lock of rank 0, by the process that starts several ranks: from before they start to their end."""
State = Literal["planned", "running", "killed", "finished", "diverged", "failed", "damaged"]

FINAL: tuple[State, ...] = ("finished", "diverged")
"""States that are results: never run again."""


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
        return is_newer(self.cell)


def read(folder: Path) -> Record:
    """The record in a run folder, which is named by its cell; the one reader of a cell's state, for every command.

    A record that is damaged, or of another cell than the folder's, comes back with `damage` set and nothing else.
    """
    path = folder / FILE
    try:
        lines, _, _ = read_lines(path)
        if lines and is_newer(lines[0]):
            schema = lines[0]["schema"]
            damage = f"{path} has schema {schema}, newer than this program's {SCHEMA}: update the program"
            return Record(folder, lines[0], state="damaged", damage=damage)
        return _record(folder, lines)
    except RecordError as error:
        return Record(folder, {}, state="damaged", damage=str(error))


def _record(folder: Path, lines: Sequence[dict[str, Any]]) -> Record:
    """What the lines of a record say together; RecordError if one is not where it can stand."""
    if not lines:
        return Record(folder, {})
    attempts: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    status: dict[str, Any] = {}
    for number, line in enumerate(lines[1:], start=2):
        event, wrong = line["event"], ""
        if event == "attempt":
            attempts.append(line)
            epochs = [epoch for epoch in epochs if epoch["step"] <= line["step"]]
            events = [other for other in events if other.get("step", 0) <= line["step"]]
            status = {}
        elif event == "epoch":
            wrong = _misplaced(line, epochs, status, lines[0]["config"].get("recipe.steps"))
            epochs.append(line)
        elif event == "status":
            wrong = _premature(line, lines[0]["config"], epochs, status)
            status = line
        else:
            events.append(line)
        if wrong:
            raise damaged(folder / FILE, number, wrong)
    state: State = status["status"] if status else ("running" if is_locked(folder) else "killed")
    return Record(folder, lines[0], tuple(attempts), tuple(epochs), tuple(events), status, state)


def _misplaced(
    epoch: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    status: Mapping[str, Any],
    steps: int | None,
) -> str:
    """Why an epoch cannot follow on these; "" if it can. steps: of the recipe."""
    if status:
        return "an epoch after the status of its attempt"
    every_step = (
        epoch["step"] == (before[-1]["step"] if before else 0) + 1
    )  # a batch of more images than there are
    older = epoch["step"] == steps and epoch["epoch"] == len(before) + 2 and _is_next(epoch["step"], before)
    if epoch["epoch"] <= len(before) or (epoch["epoch"] > len(before) + 1 and not (every_step or older)):
        return f"epoch {epoch['epoch']} where epoch {len(before) + 1} is due"
    if before and epoch["step"] <= before[-1]["step"]:
        return f"its step is {epoch['step']}, not after {before[-1]['step']}, that of the epoch before"
    return ""


def _is_next(step: int, before: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the epoch after these ends with this step, as far as their own last steps tell.

    An older program counted the images of a last step that goes beyond the end of its epoch as one more epoch.
    """
    if not before:
        return False
    count, last = len(before), int(before[-1]["step"])
    return (step - 1) * count < last * (count + 1) and (last - 1) * (count + 1) < step * count


def _premature(
    status: Mapping[str, Any],
    config: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    before: Mapping[str, Any],
) -> str:
    """Why a run with these epochs cannot have ended so; "" if it can.

    A failure may be told twice: by the process itself, and by what started it, which knows more.
    """
    state, step = status["status"], epochs[-1]["step"] if epochs else 0
    if before and (before["status"], state) != ("failed", "failed"):
        return f"it is {state} after it was {before['status']}, without an attempt between"
    if state == "diverged" and not epochs:
        return "it is diverged without an epoch"
    if state != "finished":
        return ""
    if not epochs or step != status["step"]:
        return f"it is finished at step {status['step']}, but its epochs end at {step}"
    if config.get("mode") == "benchmark":  # steps as many as could be measured, told as one epoch
        return "" if "step_ms" in epochs[0] and len(epochs) == 1 else "it is finished without a measurement"
    if step != config.get("recipe.steps", step):
        return f"it is finished at step {step} of {config['recipe.steps']}"
    if not math.isfinite(epochs[-1].get("train/loss", 0)):
        return "it is finished, but its training loss is no number"
    return ""


def last_event(events: Sequence[Mapping[str, Any]], kind: str, **content: Any) -> Mapping[str, Any]:
    """What a run logged last of this kind, and with this content; {} if it did not."""
    wanted = {"event": kind, **content}.items()
    return next((event for event in reversed(events) if event.items() >= wanted), {})


def rate_departure(events: Sequence[Mapping[str, Any]]) -> str:
    """How the learning rates of a run were not its recipe's, as it recorded it; "" if they were, or nobody knows."""
    said = last_event(events, "learning_rates").get("departure")
    return said if isinstance(said, str) else ""


def read_all(runs: Path) -> dict[str, Record]:
    """identity -> record of every run folder in a runs folder."""
    return {path.parent.name: read(path.parent) for path in sorted(runs.glob(f"*/{FILE}"))}


def read_states(runs: Path, identities: Iterable[str]) -> dict[str, State]:
    """identity -> state as `read` finds it, fast for thousands of cells: reading takes about 1 ms a record.

    That a cell has its result is kept in the runs folder, for as long as nobody changes the file of its record.
    """
    cache = DiskCache(".results", Path(__file__).parent.glob("record*.py"), runs)
    kept = cache.get("results")
    before = kept if isinstance(kept, dict) else {}
    states: dict[str, State] = {}
    results = {}
    for identity in identities:
        try:
            about = os.stat(runs / identity / FILE)
            key = [about.st_size, about.st_ctime_ns]  # which, unlike that of its content, nobody can set
        except OSError:  # mostly a cell that was never run
            key = []
        known = next((state for state in FINAL if before.get(identity) == [key, state]), None)
        state = known or read(runs / identity).state
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
    attempt: the number of the one that is written. epochs: how many the record holds that count.
    """

    def __init__(self, folder: Path, cell: Cell) -> None:
        """Open the record of `cell` in `folder`, which the caller has locked; start it if it is new.

        Raises RecordError on a record that is damaged, newer, or of another cell.
        """
        before = read(folder)
        if before.damage:
            raise RecordError(before.damage)
        self.attempt, self.epochs = len(before.attempts) + 1, 0
        self._before = before.epochs
        _, length, self._checksum = read_lines(folder / FILE)
        self._file = open(folder / FILE, "ab", buffering=0)  # noqa: SIM115 (open for as long as the run)
        self._file.truncate(length)
        if not before.cell:
            self._append({"event": "cell", "schema": SCHEMA, **cell.to_json()})

    def _append(self, line: Mapping[str, Any]) -> None:
        rest = row = sealed(line, self._checksum)
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
        self._checksum = zlib.crc32(row, self._checksum)

    def start(self, step: int, provenance: Mapping[str, Any]) -> None:
        """A new attempt, from this step on."""
        self.epochs = sum(epoch["step"] <= step for epoch in self._before)
        line = {"event": "attempt", "attempt": self.attempt, "step": step, "time": time.time()}
        self._append({**line, **provenance})

    def epoch(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics at the end of an epoch (1, 2, ...)."""
        self._append({"event": "epoch", "epoch": epoch, "step": step, **metrics})
        self.epochs += 1

    def event(self, kind: str, **content: Any) -> None:
        """A fact about the run, such as its layer responses."""
        self._append({"event": kind, **content})

    def finish(self, status: Literal["finished", "diverged", "failed"], step: int, **content: Any) -> None:
        """The end of the run; nothing follows unless the cell is run again after a failure."""
        self._append({"event": "status", "status": status, "step": step, "time": time.time(), **content})

    def close(self) -> None:
        """Close the file; the lock of the folder is the caller's."""
        self._file.close()
