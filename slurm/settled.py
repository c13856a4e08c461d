"""Sweeps whose claims are settled on the cluster, as they lie on disk and stand in the queue.

RUNS/slurm/<sweep>.settle/settle.json             how it was asked for; written last
RUNS/slurm/<sweep>.settle/cells/<i>.json          all cells that it may run, resolved
RUNS/slurm/<sweep>.settle/sweeps/<sweep>.json     its manifest, as it was asked for
RUNS/slurm/<sweep>.settle/cancelled               nothing of it starts any more until somebody asks for it again
RUNS/slurm/<sweep>.settle/stopped                 why the last controller could not go on
RUNS/slurm/<sweep>.settle/controller-<job>.out    what a controller, a job that decides a round, has said

What was decided stands in the manifest of the sweep, as everywhere (RUNS/sweeps/<sweep>.json).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablations.sweep import estimate, manifest
from ablations.sweep.plan import Sweep
from ablations.sweep.rounds import Round
from ablations.sweep.show import hours
from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.disk import write_json
from lightning_module.support.text import counted, visible
from slurm import listing, store
from slurm.listing import WAITING, Job

SUFFIX = ".settle"
FEW = 3
"""Open claims that are named; of more their number is told."""


@dataclass(frozen=True)
class Settled:
    """A sweep that was asked to be settled.

    time, stamp: of the command that asked; the stamp tells its jobs from those of other commands. cells: how many.
    options: of the launcher. budget: device-hours in all, None without a limit. kind: of device, "gpu" or "cpu".
    """

    name: str
    time: float
    stamp: str
    cells: int
    options: Mapping[str, Any]
    budget: float | None
    kind: str

    def controller(self, number: int) -> str:
        """Name of the job that decides what follows this round."""
        return f"{self.name}{SUFFIX}.{number}.{self.stamp}"


def folder(runs: Path, name: str) -> Path:
    """Where a sweep keeps what its controllers need."""
    return runs / store.FOLDER / f"{name}{SUFFIX}"


def write(sweep: Sweep, options: Mapping[str, Any], kind: str) -> Settled:
    """Keep all that a controller needs, and forget that the sweep was cancelled. sweep: with absolute runs."""
    now, place = time.time(), folder(sweep.runs, sweep.manifest.name)
    stamp = f"{time.strftime('%y%m%d-%H%M%S', time.localtime(now))}-{os.getpid()}"
    (place / "cells").mkdir(parents=True, exist_ok=True)
    for index, cell in enumerate(sweep.cells):
        cell.write(place / "cells" / f"{index}.json")
    manifest.write(place, sweep.manifest)
    asked = Settled(sweep.manifest.name, now, stamp, len(sweep.cells), options, sweep.budget, kind)
    write_json(place / "settle.json", asdict(asked))
    for note in ("cancelled", "stopped"):
        (place / note).unlink(missing_ok=True)
    return asked


def read(runs: Path, name: str) -> Settled | None:
    """What `write` kept of a sweep; None if there is nothing, or nothing that can be read."""
    try:
        asked = Settled(**json.loads((folder(runs, name) / "settle.json").read_bytes()))
    except store.ODD:
        return None
    numbers = (asked.time, *([] if asked.budget is None else [asked.budget]))
    whole = all(type(number) in (int, float) for number in numbers) and isinstance(asked.options, dict)
    texts = (asked.stamp, asked.kind)
    whole = whole and type(asked.cells) is int and all(isinstance(text, str) for text in texts)
    return asked if whole and asked.name == name else None


def sweep(runs: Path, asked: Settled) -> Sweep:
    """The sweep as it was asked for; ConfigError if a file of it is lost."""
    place = folder(runs, asked.name)
    cells = (Cell.read(place / "cells" / f"{index}.json") for index in range(asked.cells))
    known = manifest.read(place / "sweeps" / f"{asked.name}.json")
    return Sweep(tuple(cells), known, runs, True, asked.budget)


def is_cancelled(runs: Path, name: str) -> bool:
    """Whether somebody cancelled it since it was asked for."""
    return (folder(runs, name) / "cancelled").exists()


@dataclass(frozen=True)
class Progress:
    """Where a settled sweep stands. rounds: decided so far. used: device-hours of their cells. jobs: controllers that
    wait or run. last: the one of the last round, as SLURM knows it, None if it does not. cells: that rounds chose."""

    asked: Settled
    rounds: tuple[Round, ...]
    used: float
    jobs: tuple[Job, ...]
    last: Job | None
    cancelled: bool
    cells: frozenset[str]

    @property
    def controller(self) -> str:
        """Name of the job that decides what follows the last round."""
        return self.asked.controller(len(self.rounds))

    @property
    def end(self) -> str:
        """Why no further round follows, "" if one does."""
        return self.rounds[-1].end if self.rounds else ""


def survey(runs: Path, wanted: Sequence[str] = ()) -> list[Progress]:
    """The settled sweeps of a runs folder, or those that are named."""
    places = sorted((runs / store.FOLDER).glob(f"*{SUFFIX}/settle.json"))
    names = [path.parent.name.removesuffix(SUFFIX) for path in places]
    every = [read(runs, name) for name in names if name in wanted or not wanted]
    return [_progress(runs, asked) for asked in every if asked]


def _progress(runs: Path, asked: Settled) -> Progress:
    known = manifest.earlier(runs, asked.name)
    rounds = tuple(map(Round.from_json, known.rounds)) if known else ()
    jobs = listing.jobs([asked.controller(number) for number in range(1, len(rounds) + 1)])
    cells = frozenset(name for each in rounds for name in each.cells)
    return Progress(
        asked,
        rounds,
        sum(estimate.used_hours(record.read(runs / name)) for name in sorted(cells)),
        tuple(job for job in jobs.values() if job.active),
        jobs.get((asked.controller(len(rounds)), 0)),
        is_cancelled(runs, asked.name),
        cells,
    )


def lines(runs: Path, every: Collection[Progress]) -> list[str]:
    """A line for each settled sweep: its round, what is open, hours used and left, and who decides next."""
    return [visible(f"{each.asked.name}: {_round(each)}; {_next(runs, each)}") for each in every]


def _round(now: Progress) -> str:
    used = f"{hours(now.used)} used"
    if now.asked.budget is not None:
        used += f" of {hours(now.asked.budget)}, {hours(max(0.0, now.asked.budget - now.used))} left"
    if not now.rounds:
        return "no round yet"
    if now.end:
        return f"ended after {counted(len(now.rounds) - 1, 'round')}: {now.end}; {used}"
    last = now.rounds[-1]
    which = f" ({'; '.join(last.open)})" if 0 < len(last.open) <= FEW else ""
    return (
        f"round {last.number}, {len(last.open)} of {counted(len(last.claims), 'claim')} open{which}; {used}"
    )


def _next(runs: Path, now: Progress) -> str:
    if now.end:
        return "nothing follows"
    if now.cancelled:
        return "cancelled; the sweep's command goes on"
    if now.jobs:
        job = next((job for job in now.jobs if job.name == now.controller), now.jobs[0])
        when = "when its cells have ended" if job.state in WAITING else "now"
        return f"job {job.id} decides the next round {when}"
    place = folder(runs, now.asked.name)
    why = f": job {now.last.id} ended as {now.last.state}" if now.last else ""
    with contextlib.suppress(OSError):
        why = f": {(place / 'stopped').read_text(encoding='utf-8')}"
    log = place / f"controller-{now.last.id}.out" if now.last else None
    where = f" (log: {log})" if log and log.exists() else ""
    return f"no job decides the next round{why}{where}; the sweep's command goes on"
