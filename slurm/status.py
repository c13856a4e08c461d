"""The state of cells that were submitted: records joined with what SLURM says."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.sweep import live, manifest
from lightning_module.cell import record
from lightning_module.support.errors import ConfigError, nearest
from slurm import cluster, listing, settled, store, undecided, waiting
from slurm.listing import WAITING, Job
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
    known: record.Record,
    job: Job | None,
    stopped: str,
    submitted: bool,
    cancelled: bool = False,
    unseen: str = "",
) -> tuple[str, str]:
    """(state, reason). First a job that is not over decides, then the record, then how the job ended.

    An element of an array that is cancelled before its start leaves no trace in SLURM, and without accounting
    nothing does for long: cancelled is what we have noted ourselves or what the job's log says. unseen: why it means
    nothing that SLURM tells of no job, "" if it does mean that there is none.
    """
    if job and job.active:
        by = f"by {job.user}" if job.user not in ("", listing.user_name()) else ""
        why = job.reason if job.state in WAITING and job.reason != "None" else ""
        why = why or ("suspended" if job.state in listing.SUSPENDED else "")
        return "queued" if job.state in WAITING else "running", "; ".join(filter(None, (by, why)))
    if known.state in record.FINAL:
        return known.state, ""
    if known.state in ("failed", "damaged"):
        return known.state, str(known.status.get("error", known.damage))
    if known.state == "running":
        return "running", unseen or "by a process outside of SLURM"
    if cancelled or (job and job.state == "CANCELLED"):
        return "cancelled", stopped or "by scancel"
    if unseen and not job:
        return "unknown", unseen
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
    for one in waiting.read_all(runs):
        for each in one.cells:
            names[each.identity] = each.name
            sweeps.setdefault(one.about.sweep, {})[each.identity] = each.name
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


def unseen_arrays(arrays: Iterable[store.Array], jobs: Mapping[tuple[str, int], Job]) -> dict[str, str]:
    """Arrays of other users whose jobs SLURM hides from this one, by name -> what is known of them."""
    seen, mine = {name for name, _ in jobs}, ("", listing.user_name())
    others = [array for array in arrays if array.user not in mine and array.name not in seen]
    hidden = others if others and listing.hides_others() else []
    return {array.name: f"submitted by {array.user}; SLURM shows you no jobs of others" for array in hidden}


def survey(runs: Path, wanted: Sequence[str] = (), silent: bool = False) -> list[SubmittedCell]:
    """Every cell that was submitted from a runs folder, or those that `wanted` names; two scheduler calls.

    silent: without asking SLURM, which does not answer.
    """
    chosen, places = choose(runs, wanted)
    arrays = {places[identity][0].name: places[identity][0] for identity in chosen if identity in places}
    queue = waiting.by_identity(waiting.read_all(runs))
    lists = {queue[name][0].about.submission: queue[name][0] for name in chosen if name in queue}
    every = store.arrays(runs) if lists else []
    feeders = {submission: set(waiting.feeders(every, one)) for submission, one in lists.items()}
    names = set(arrays).union(*feeders.values())
    jobs = {} if silent else listing.jobs(sorted(names))
    at_work = names if silent else {name for (name, _), job in jobs.items() if job.active}
    fed = {submission for submission, those in feeders.items() if at_work & those}
    unseen = (
        dict.fromkeys(arrays, "SLURM does not answer") if silent else unseen_arrays(arrays.values(), jobs)
    )
    found = [
        _status(runs, identity, name, places.get(identity), jobs, unseen) for identity, name in chosen.items()
    ]
    for place, row in enumerate(found):
        if row.identity in queue and row.state in ("planned", "cancelled", "killed", "failed", "unknown"):
            one, cell = queue[row.identity]
            word, reason = waiting.why(one, cell, fed=one.about.submission in fed)
            found[place] = replace(row, state=word, reason=reason)
    return found


def survey_or_records(
    runs: Path, wanted: Sequence[str]
) -> tuple[list[SubmittedCell], list[settled.Progress]]:
    """What `survey` and `settled.survey` find; where SLURM does not answer what the records say, which is told."""
    try:
        return survey(runs, wanted), settled.survey(runs, wanted)
    except cluster.SlurmError as error:
        print(f"{error}; this is what the records say", file=sys.stderr)
        return survey(runs, wanted, silent=True), []


def _status(
    runs: Path,
    identity: str,
    name: str,
    place: tuple[store.Array, int] | None,
    jobs: Mapping[tuple[str, int], Job],
    unseen: Mapping[str, str],
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
    stopped = store.stopped(folder)
    submitted = (folder / "job.json").exists()
    word, reason = job_state(
        known, None if over else job, stopped, submitted, cancelled, unseen.get(array.name, "")
    )
    by_somebody = cancelled or (job and job.state == "CANCELLED")
    lost = word in ("killed", "cancelled", "unknown") and not by_somebody
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


def follow(runs: Path, names: Sequence[str], fill: Callable[[], object] | None = None) -> None:
    """Show the live table until nothing is queued or running, and no further round follows.

    fill: submits what waits for a place, as far as there is one; then the end is when nothing waits any more.
    SystemExit 1 if a cell has no result, or a settled sweep no end; its cells that no round chose need none.
    """
    screen, told = live.Live(), False
    while True:
        try:
            if fill:
                fill()
            rows, rounds = survey(runs, names), settled.survey(runs, names)
        except cluster.SlurmError as error:  # a controller that restarts is no reason to leave
            print(error, file=sys.stderr)
            time.sleep(REFRESH)
            continue
        still = (*OPEN, "waiting") if fill else OPEN
        over = not any(row.state in still for row in rows) and not any(each.jobs for each in rounds)
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
