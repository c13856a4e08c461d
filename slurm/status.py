"""The state of cells that were submitted: records joined with what SLURM says. Pure, but for `survey`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.sweep import manifest
from lightning_module.cell import record
from lightning_module.support.errors import ConfigError, nearest
from lightning_module.support.text import aligned
from slurm import cluster, store
from slurm.cluster import WAITING, Job
from slurm.verdict import MEMORY_HINT

ORDER = ("running", "queued", "failed", "killed", "cancelled", "planned", "diverged", "finished")
OPEN = ("running", "queued")
"""States that change without anybody's doing."""

ENDED = {
    "TIMEOUT": ("killed", "time limit; run the command again to go on"),
    "DEADLINE": ("killed", "deadline"),
    "NODE_FAIL": ("killed", "node failure"),
    "BOOT_FAIL": ("killed", "node failure"),
    "PREEMPTED": ("killed", "preempted"),
    "OUT_OF_MEMORY": ("failed", MEMORY_HINT),
}
"""SLURM's word for the end of a job whose cell has no result -> (state, reason)."""


@dataclass(frozen=True)
class Row:
    """One cell. place: (array, index in it) of its last submission; left: seconds until it is done, if known."""

    identity: str
    name: str
    state: str
    reason: str
    record: record.Record
    place: tuple[str, int] | None = None
    job: Job | None = None
    left: float | None = None


def state(
    found: record.Record, job: Job | None, stopped: str, submitted: bool, cancelled: bool = False
) -> tuple[str, str]:
    """(state, reason). First a job that is not over decides, then the record, then how the job ended.

    An element of an array that is cancelled before its start leaves no trace in SLURM, and without accounting
    nothing does for long: cancelled is what we have noted ourselves or what the job's log says.
    """
    if job and job.active:
        if job.state in WAITING:
            return "queued", job.reason if job.reason != "None" else ""
        return "running", ""
    if found.state in record.FINAL:
        return found.state, ""
    if found.state in ("failed", "damaged"):
        return "failed", str(found.status.get("error", found.damage))
    if found.state == "running":
        return "running", "by a process outside of SLURM"
    if cancelled or (job and job.state == "CANCELLED"):
        return "cancelled", stopped or "by scancel"
    if job:
        return ENDED.get(job.state, ("killed", f"the job ended as {job.state} without a result; see its log"))
    if found.state == "planned":
        return ("cancelled", stopped or "before it started") if submitted else ("planned", "")
    return "killed", "SLURM does not know its job any more"


def time_left(found: record.Record, steps: int) -> float | None:
    """Seconds that the rest of a running cell will take at the pace of its epochs so far."""
    seconds = sum(epoch.get("seconds", 0.0) for epoch in found.epochs)
    done = found.last.get("step", 0)
    if not seconds or not done:
        return None
    # What the epoch that is under way has taken already.
    attempt = found.attempts[-1] if found.attempts else {"time": time.time(), "step": 0}
    own = sum(epoch.get("seconds", 0.0) for epoch in found.epochs if epoch["step"] > attempt["step"])
    current = time.time() - float(attempt["time"]) - own
    return float(max(0.0, (steps - done) * seconds / done - max(0.0, current)))


def survey(runs: Path, wanted: Sequence[str] = ()) -> list[Row]:
    """Every cell that was submitted from a runs folder, or those that `wanted` names; two scheduler calls.

    A name is a study or another sweep, a cell's identity (or its beginning) or the cell's name.
    """
    arrays = store.arrays(runs)
    by_name = {array.name: array for array in arrays}
    places: dict[str, tuple[str, int]] = {}
    names: dict[str, str] = {}
    for one in arrays:  # the newest submission of a cell counts
        for index, cell in enumerate(one.cells):
            places[cell["identity"]] = (one.name, index)
            names[cell["identity"]] = cell["name"]
    chosen = choose(runs, arrays, names, wanted)
    used = sorted({places[identity][0] for identity in chosen if identity in places})
    jobs = cluster.jobs(used)
    rows = []
    for identity in chosen:
        found = record.read(runs / identity)
        place = places.get(identity)
        array = by_name[place[0]] if place else None
        job = jobs.get((array.name, array.element(place[1])[0])) if array and place else None
        submitted = place is not None and (runs / store.FOLDER / place[0] / "job.json").exists()
        cancelled = place is not None and store.cancelled(store.history(runs / identity), place[0])
        if array and place and not job and found.state == "killed":
            cancelled = cancelled or store.scancelled(runs, array, place[1])
        # A job may go on for another cell that shares it.
        over = array is not None and array.cells_per_job > 1 and found.state in record.FINAL
        word, reason = state(found, None if over else job, _stopped(runs, place), submitted, cancelled)
        left = None
        if word == "running" and found.cell:
            left = time_left(found, int(found.cell["config"]["recipe.steps"]))
        rows.append(Row(identity, names[identity], word, reason, found, place, job, left))
    return sorted(rows, key=order)


def _stopped(runs: Path, place: tuple[str, int] | None) -> str:
    path = runs / store.FOLDER / place[0] / "stopped.json" if place else None
    return str(store.read_json(path)["why"]) if path and path.exists() else ""


def choose(
    runs: Path, arrays: Iterable[store.Array], names: dict[str, str], wanted: Sequence[str]
) -> list[str]:
    """Identities of the cells that these words name, without words of all; `names` gains what was not submitted."""
    if not wanted:
        return list(names)
    chosen: dict[str, None] = {}
    sweeps: dict[str, list[Mapping[str, Any]]] = {}
    for array in arrays:
        sweeps.setdefault(array.sweep, []).extend(array.cells)
    for path in manifest.newest_first(runs):
        sweeps[path.stem] = list(manifest.read(path).cells)
    for word in wanted:
        if word in sweeps:
            cells = sweeps[word]
            names.update({cell["identity"]: cell["name"] for cell in cells})
            hits = [cell["identity"] for cell in cells]
        else:
            hits = [
                key for key, name in names.items() if name == word or (len(word) > 3 and key.startswith(word))
            ]
        if not hits:
            raise ConfigError(
                f"{word} is no study, sweep or cell here; {nearest(word, [*sweeps, *names.values()])}"
            )
        chosen.update(dict.fromkeys(hits))
    return list(chosen)


def order(row: Row) -> tuple[int, str]:
    """Where a row stands in a table: what moves first, what is done last."""
    return ORDER.index(row.state) if row.state in ORDER else 0, row.name


class Live:
    """A text that is shown again and again in the same place of a terminal."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._lines = 0

    def show(self, text: str) -> None:
        """Replace what was shown before; what does not fit on the screen is left out."""
        size = shutil.get_terminal_size()
        lines = text.splitlines()
        if len(lines) > size.lines - 1:
            lines = [*lines[: size.lines - 2], f"... {len(lines) - size.lines + 2} more lines"]
        up = f"\x1b[{self._lines}A\x1b[J" if self._lines else ""
        print(up + "\n".join(line[: size.columns] for line in lines), flush=True)
        self._lines = len(lines)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60:02}"
        if minutes >= 60
        else f"{minutes} min"
        if minutes
        else "< 1 min"
    )


def table(rows: Sequence[Row], runs: Path) -> str:
    """The rows as text: a line per cell, one with the counts, and the first traceback of a failure."""
    if not rows:
        return f"Nothing was submitted from {runs}."
    lines: list[tuple[str, ...]] = [("cell", "state", "epoch", "error", "left", "job", "node", "")]
    for row in rows:
        last = row.record.last
        error = f"{last['test/error']:.2f} %" if "test/error" in last else ""
        job, node = (row.job.id, row.job.node) if row.job else ("", "")
        left = _duration(row.left)
        lines.append(
            (row.name, row.state, str(last.get("epoch", "")), error, left, job, node, row.reason[:100])
        )
    used = [column for column in range(len(lines[0])) if any(line[column] for line in lines[1:])]
    lines = [tuple(line[column] for column in used) for line in lines]
    text = aligned(lines)
    counts = [
        f"{sum(row.state == word for row in rows)} {word}"
        for word in ORDER
        if any(r.state == word for r in rows)
    ]
    text += ["", f"{len(rows)} cell{'s' * (len(rows) != 1)}: {', '.join(counts)}"]
    failed = [row for row in rows if row.state == "failed"]
    for row in failed[:1]:
        where = store.log_file(runs, *row.place) if row.place else None
        text += ["", f"First failure, {row.name}" + (f" (log: {where})" if where else "") + ":"]
        text += [
            "    " + line
            for line in str(row.record.status.get("traceback") or row.reason).strip().splitlines()
        ]
    return "\n".join(text)
