"""The state of cells that were submitted: records joined with what SLURM says."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.sweep import live, manifest
from lightning_module.cell import record
from lightning_module.support.errors import ConfigError, nearest
from slurm import cluster, settled, store, undecided
from slurm.cluster import WAITING, Job
from slurm.verdict import MEMORY_HINT

REFRESH = 10.0
"""Seconds between looks at the queue; each is two scheduler calls."""

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
class SubmittedCell(live.CellStatus):
    """A cell that a study or a sweep on the cluster has.

    array, index: its last submission, and its place there; None and 0 before the first. job: what SLURM knows of it.
    """

    array: store.Array | None = None
    index: int = 0
    job: Job | None = None


def job_state(
    known: record.Record, job: Job | None, stopped: str, submitted: bool, cancelled: bool = False
) -> tuple[str, str]:
    """(state, reason). First a job that is not over decides, then the record, then how the job ended.

    An element of an array that is cancelled before its start leaves no trace in SLURM, and without accounting
    nothing does for long: cancelled is what we have noted ourselves or what the job's log says.
    """
    if job and job.active:
        if job.state in WAITING:
            return "queued", job.reason if job.reason != "None" else ""
        return "running", ""
    if known.state in record.FINAL:
        return known.state, ""
    if known.state in ("failed", "damaged"):
        return known.state, str(known.status.get("error", known.damage))
    if known.state == "running":
        return "running", "by a process outside of SLURM"
    if cancelled or (job and job.state == "CANCELLED"):
        return "cancelled", stopped or "by scancel"
    if job:
        return ENDED.get(job.state, ("killed", f"the job ended as {job.state} without a result; see its log"))
    if known.state == "planned":
        return ("cancelled", stopped or "before it started") if submitted else ("planned", "")
    return "killed", "SLURM does not know its job any more"


def choose(runs: Path, wanted: Sequence[str]) -> tuple[dict[str, str], dict[str, tuple[store.Array, int]]]:
    """Names of the cells that `wanted` means, of all that were submitted for none, and places of all, by identity.

    A word is a study or another sweep, a cell's identity (or its beginning) or the cell's name. ConfigError if one is
    nothing of these.
    """
    places: dict[str, tuple[store.Array, int]] = {}
    names: dict[str, str] = {}
    sweeps: dict[str, dict[str, str]] = {}  # the names of a sweep's cells
    for array in store.arrays(runs):  # the newest submission of a cell counts
        for index, cell in enumerate(array.cells):
            identity, name = cell["identity"], cell["name"]
            places[identity], names[identity] = (array, index), name
            sweeps.setdefault(array.sweep, {})[identity] = name
    for path in manifest.newest_first(runs) if wanted else []:  # these have cells that were not submitted too
        sweeps[path.stem] = {cell["identity"]: cell["name"] for cell in manifest.read(path).cells}
    chosen: dict[str, str] = {} if wanted else names
    for word in wanted:
        hits = sweeps.get(word) or {
            key: name
            for key, name in names.items()
            if word in (name, _full(name, key)) or (len(word) > 3 and key.startswith(word))
        }
        if not hits:
            raise ConfigError(
                f"{word} is no study, sweep or cell here; {nearest(word, [*sweeps, *names.values()])}"
            )
        names |= hits
        chosen |= hits
    often = Counter(chosen.values())
    return {key: _full(name, key) if often[name] > 1 else name for key, name in chosen.items()}, places


def _full(name: str, identity: str) -> str:
    """The name of a cell that another one, of another sweep, has too."""
    return f"{name} ({identity})"


def survey(runs: Path, wanted: Sequence[str] = ()) -> list[SubmittedCell]:
    """Every cell that was submitted from a runs folder, or those that `wanted` names; two scheduler calls."""
    chosen, places = choose(runs, wanted)
    jobs = cluster.jobs(sorted({places[identity][0].name for identity in chosen if identity in places}))
    return [_status(runs, identity, name, places.get(identity), jobs) for identity, name in chosen.items()]


def _status(
    runs: Path,
    identity: str,
    name: str,
    place: tuple[store.Array, int] | None,
    jobs: Mapping[tuple[str, int], Job],
) -> SubmittedCell:
    known = record.read(runs / identity)
    if not place:
        word, reason = job_state(known, None, "", submitted=False)
        return SubmittedCell(identity, name, word, reason, known)
    array, index = place
    folder = runs / store.FOLDER / array.name
    job = jobs.get((array.name, array.element(index)[0]))
    cancelled = store.cancelled(store.history(runs / identity), array.name)
    if not job and known.state == "killed":
        cancelled = cancelled or store.scancelled(runs, array, index)
    # A job may go on for another cell that shares it.
    over = array.cells_per_job > 1 and known.state in record.FINAL
    note = folder / "stopped.json"
    stopped = ""
    if note.exists():
        stopped = f"{note} cannot be read"
        with contextlib.suppress(*store.ODD):
            stopped = str(json.loads(note.read_bytes())["why"])
    submitted = (folder / "job.json").exists()
    word, reason = job_state(known, None if over else job, stopped, submitted, cancelled)
    by_somebody = cancelled or (job and job.state == "CANCELLED")
    lost = word in ("killed", "cancelled") and not by_somebody
    if lost and (said := undecided.why(runs, array, index)):
        word, reason = "failed", said
    return SubmittedCell(
        *(identity, name, word, reason, known),
        *((job.id, job.node) if job else ("", "")),
        log=store.log_file(runs, array, index) if word == "failed" else None,
        array=array,
        index=index,
        job=job,
    )


def table(cells: Sequence[SubmittedCell], runs: Path, rounds: Sequence[settled.Progress] = ()) -> str:
    """The live table, or that there is nothing to show, and below it the sweeps that are settled."""
    shown = live.table(cells) if cells else f"Nothing was submitted from {runs}."
    return "\n".join([shown, *settled.lines(runs, rounds)])


def follow(runs: Path, names: Sequence[str]) -> None:
    """Show the live table until nothing is queued or running, and no further round follows.

    SystemExit 1 if a cell has no result, or a settled sweep no end; its cells that no round chose need none.
    """
    screen, told = live.Live(), False
    while True:
        try:
            rows, rounds = survey(runs, names), settled.survey(runs, names)
        except cluster.SlurmError as error:  # a controller that restarts is no reason to leave
            print(error, file=sys.stderr)
            time.sleep(REFRESH)
            continue
        over = not any(row.state in OPEN for row in rows) and not any(each.jobs for each in rounds)
        if screen.terminal and not over:
            screen.show(table(rows, runs, rounds))
        elif over or not told:
            print(table(rows, runs, rounds), flush=True)
            told = True
        if over:
            break
        time.sleep(REFRESH)
    chosen = {name for each in rounds for name in each.cells}
    wanted = [row for row in rows if row.identity in chosen or row.array or not rounds]
    if any(row.state not in record.FINAL for row in wanted) or not all(each.end for each in rounds):
        raise SystemExit(1)
