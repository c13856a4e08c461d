"""What lies on disk about jobs, so that nothing lives only in a client.

RUNS/slurm/<array>/array.json       what was submitted, written before sbatch; the array's name is the job's
RUNS/slurm/<array>/cells/<i>.json   the resolved cells, cells_per_job of them for each element
RUNS/slurm/<array>/elements         a line for each element: the names of its cells, for squeue
RUNS/slurm/<array>/*_log.out        output, one file per job, element and rank
RUNS/slurm/code/<hash>/             the program that these arrays run
RUNS/<identity>/owner.json          which attempt of which job may write to this run folder
RUNS/<identity>/jobs.jsonl          what happened to the cell's jobs
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.disk import write_json

FOLDER = "slurm"
CHECKPOINT = "last.ckpt"
"""As in training.checkpoint, which needs torch."""

ODD = (OSError, ValueError, TypeError, KeyError, RecursionError)
"""What reading a file raises that is not as it was written."""

SCANCEL = re.compile(rb"\*\*\* JOB \d+ ON \S+ CANCELLED AT \S+ \*\*\*")
"""What slurmstepd writes into a job's log; another reason ("DUE TO TIME LIMIT") stands before the last stars."""


@dataclass(frozen=True)
class Array:
    """One job array. name: of the folder and of its jobs. sweep: what its cells belong to.

    submission: shared by the arrays that one command submitted.
    time: of submission. code: folder of the program. cells: {"identity", "name"} of each cell.
    options: of the launcher, for another submission. cells_per_job: cells that share an element and its device.
    user: who submitted it, "" where that is not known.
    """

    name: str
    sweep: str
    submission: str
    time: float
    code: str
    cells: tuple[Mapping[str, str], ...]
    options: Mapping[str, Any]
    cells_per_job: int = 1
    user: str = ""

    def element(self, index: int) -> tuple[int, int]:
        """(element of the array, task in it) of a cell."""
        return divmod(index, self.cells_per_job)

    def members(self, element: int) -> list[int]:
        """Places in `cells` of those that an element of the array trains."""
        first = element * self.cells_per_job
        return list(range(first, min(first + self.cells_per_job, len(self.cells))))


def arrays(runs: Path) -> list[Array]:
    """All arrays of a runs folder, the oldest first; a folder that is half written or removed is left out."""
    readable = []
    for path in (runs / FOLDER).glob("*/array.json"):
        with contextlib.suppress(*ODD):
            readable.append(read_array(path.parent))
    return sorted(readable, key=lambda array: (array.time, array.name))


def read_array(folder: Path) -> Array:
    """The array whose folder this is."""
    data = json.loads((folder / "array.json").read_text(encoding="utf-8"))
    array = Array(**{**data, "cells": tuple(data["cells"]), "time": float(data["time"])})
    texts = [array.sweep, array.submission, array.code, array.user]
    texts += [cell[key] for cell in array.cells for key in ("identity", "name")]
    whole = type(array.cells_per_job) is int and array.cells_per_job > 0 and isinstance(array.options, dict)
    if array.name != folder.name or not whole or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{folder} holds no array of that name")
    return array


def write_array(folder: Path, array: Array, cells: Sequence[Cell]) -> None:
    """Everything that the jobs of an array need."""
    (folder / "cells").mkdir()
    for index, cell in enumerate(cells):
        cell.write(folder / "cells" / f"{index}.json")
    write_json(folder / "array.json", asdict(array))


@dataclass(frozen=True)
class Attempt:
    """One start of a job. ready: the run folder is free, all ranks may begin."""

    job: str
    restart: int
    ready: bool = False

    @classmethod
    def here(cls) -> Attempt:
        """The attempt that this process belongs to."""
        # Not SLURM_JOB_ID: for one element of an array that number means the whole array.
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        return cls(job, int(os.environ.get("SLURM_RESTART_COUNT", 0)))

    def same(self, other: Attempt | None) -> bool:
        """Whether both are one start of one job."""
        return other is not None and (self.job, self.restart) == (other.job, other.restart)


def stopped(folder: Path) -> str:
    """Why what has not started of an array never will, "" if it was not stopped. folder: of the array."""
    note = folder / "stopped.json"
    if not note.exists():
        return ""
    with contextlib.suppress(*ODD):
        return str(json.loads(note.read_bytes())["why"])
    return f"{note} cannot be read"


def owner(run: Path) -> Attempt | None:
    """The attempt that a run folder belongs to."""
    try:
        return Attempt(**json.loads((run / "owner.json").read_text(encoding="utf-8")))
    except ODD:
        return None


def write_owner(run: Path, attempt: Attempt) -> None:
    """Hand a run folder over; earlier attempts notice and leave."""
    write_json(run / "owner.json", asdict(attempt))


def note(run: Path, event: str, attempt: Attempt, **content: Any) -> None:
    """Append to the history of a cell's jobs."""
    line = {"event": event, "job": attempt.job, "restart": attempt.restart, "time": time.time(), **content}
    with open(run / "jobs.jsonl", "ab+") as file:
        # A full disk takes a part of a line; the next one must not be joined to it.
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        begin = b"" if file.read(1) in (b"", b"\n") else b"\n"
        file.write(begin + json.dumps(line).encode() + b"\n")


def cancelled(history: Iterable[Mapping[str, Any]], array: str) -> bool:
    """Whether a cell was cancelled, for good, in this array; SLURM forgets it."""
    return any(line["event"] == "cancel" and line["array"] == array for line in history)


def scancelled(runs: Path, array: Array, index: int) -> bool:
    """Whether the log of a cell's job ends with scancel; without accounting nothing else remembers it."""
    element, _ = array.element(index)
    return SCANCEL.search(end_of(log_file(runs, array, array.members(element)[0]))) is not None


def progress(run: Path) -> int:
    """The last optimizer step that the record knows to be done."""
    known = record.read(run)
    return max((line["step"] for line in (*known.attempts, *known.epochs)), default=0)


def saved(run: Path) -> float:
    """When the cell's checkpoint was saved last, 0 if there is none."""
    try:
        return (run / CHECKPOINT).lstat().st_mtime
    except OSError:
        return 0.0


def history(run: Path) -> list[dict[str, Any]]:
    """The history of a cell's jobs; a line that was cut short, or is none of ours, is left out."""
    lines = []
    with contextlib.suppress(OSError):
        for row in (run / "jobs.jsonl").read_bytes().splitlines():
            with contextlib.suppress(*ODD):
                line = json.loads(row)
                texts = {"cancel": ("job", "array"), "end": ("job", "action")}.get(line["event"], ("job",))
                whole = all(isinstance(line[key], str) for key in texts)
                whole = whole and isinstance(line.get("unfit", ""), str)
                times = [line["time"], line.get("saved", 0), line.get("seconds", 0)]
                if whole and type(line["restart"]) is int and {*map(type, times)} <= {int, float}:
                    lines.append(line)
    return lines


def of_job(lines: Iterable[Mapping[str, Any]], job: str) -> list[Mapping[str, Any]]:
    """What the history says of this job since it was over, if it was: who submits or requeues a cell starts anew."""
    own = [line for line in lines if line["job"] == job]
    over = max((place for place, line in enumerate(own, 1) if line["event"] == "over"), default=0)
    return own[over:]


def unfit_nodes(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """The node of each start that a fault of the node has ended."""
    return [line["unfit"] for line in lines if line["event"] == "end" and "unfit" in line]


def settled(lines: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a job, of which these are the lines, has given the cell up; it may go on for another that shares it."""
    ends = [line for line in lines if line["event"] == "end"]
    return bool(ends) and ends[-1]["action"] == "fail"


def log_file(runs: Path, array: Array, index: int, rank: int = 0) -> Path | None:
    """Where a cell of an array writes; the newest file, if it was submitted more than once."""
    element, task = array.element(index)
    files = (runs / FOLDER / array.name).glob(f"*_{element}_{task + rank}_log.out")
    return max(files, key=lambda path: path.stat().st_mtime, default=None)


def end_of(log: Path | None) -> bytes:
    """The last 4000 bytes of a log; b"" if there is none."""
    return log.read_bytes()[-4000:] if log else b""
