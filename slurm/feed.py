"""Cells that wait for a place get it when one comes free, from jobs of their sweep or from a client that follows it.

A job that ends counts against SLURM's limit until it is gone, so what it finds free is the place of one that ended
before it. Jobs that will end later are left to do the same; the last one waits for those before it to be gone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from lightning_module.cell import record
from lightning_module.support.disk import Busy, Lock
from lightning_module.support.errors import ConfigError, one_line
from slurm import cluster, listing, places, store, waiting
from slurm.options import parse_options
from slurm.resources import arrays
from slurm.waiting import Waiting

PATIENCE = 120.0
"""Seconds for which the last job of a sweep waits for a place."""

PAUSE = 5.0
"""Seconds between its looks."""

LONGEST = 900.0
"""Seconds for which it waits for another that submits; a client that was suspended must not keep jobs for ever."""


def feed(folder: Path, job: str) -> None:
    """At the end of a job: submit what waits of its sweep, where that was asked for. folder: of its array."""
    array, runs = store.read_array(folder), folder.parent.parent
    if not _lists(runs, array.sweep, job):
        return
    end = time.monotonic() + PATIENCE
    try:
        while not cluster.patiently(lambda: give(runs, array.sweep, job)):
            if time.monotonic() > end:
                raise cluster.SlurmError("no place came free while the last job waited for one")
            time.sleep(PAUSE)
    except Busy as error:
        print(f"slurm: cells that wait are not submitted ({error})", flush=True)
    except (cluster.SlurmError, ConfigError) as error:
        print(f"slurm: cells that wait could not be submitted ({one_line(error)})", flush=True)
        with contextlib.suppress(Busy), Lock(runs / store.FOLDER, patience=LONGEST):
            for one in _lists(runs, array.sweep, job):
                waiting.write(runs, replace(one, trouble=one_line(error)))


def give(runs: Path, sweep: str, job: str = "") -> bool:
    """Submit what waits of a sweep and has a place. job: that asks, at its end.

    False if it found no place and nobody else will look for one later.
    """
    with Lock(runs / store.FOLDER, patience=LONGEST):
        lists = _lists(runs, sweep, job)
        ours = [array for array in store.arrays(runs) if array.sweep == sweep]
        known = listing.jobs([array.name for array in ours]) if lists else {}
        active = {found.id for found in known.values() if found.active} - {job}
        feeding = {name for one in lists for name in waiting.feeders(ours, one)}
        later = {found.id for found in known.values() if found.id in active and found.name in feeding}
        fed, given = {job, *(name for one in lists for name in one.fed)}, 0
        for one in lists:
            there = {
                cell["identity"]
                for array in ours
                for index, cell in enumerate(array.cells)
                if array.submission == one.about.submission and (array.name, array.element(index)[0]) in known
            }
            given += _submit(runs, replace(one, fed=tuple(fed - {""})), there, len(active) + given)
        return bool(given or later - fed) or not any(one.left for one in _lists(runs, sweep, job))


def _lists(runs: Path, sweep: str, job: str) -> list[Waiting]:
    """What waits of a sweep, by the command of this user. job: that asks, which needs to be allowed to."""
    return [
        one
        for one in waiting.read_all(runs)
        if one.left
        and one.about.sweep == sweep
        and one.about.user == listing.user_name()
        and (not job or one.about.options.get("feed"))
    ]


def _submit(runs: Path, now: Waiting, there: Collection[str], active: int) -> int:
    """Submit from a list -> how many cells. there: those that a job has had. active: jobs of the sweep."""
    options = parse_options(now.about.options)
    final = {cell.identity for cell in now.left if record.read(runs / cell.identity).state in record.FINAL}
    wanted = [cell.wanted for cell in now.left if cell.identity not in final | set(there)]
    room = max(0, options.array_parallelism - active)
    first = wanted[: room * (wanted[0][1].cells if wanted else 1)]
    offers = [places.Offer(needs, cells, len(cells)) for needs, cells in arrays(first, len(first))]
    placed = places.place(runs, now.about, offers, options, first=1)
    kept = {cell.identity for cell, _ in [*placed.left, *wanted[len(first) :]]}
    cells = tuple(cell for cell in now.cells if cell.dropped or cell.identity in kept)
    waiting.write(runs, replace(now, cells=cells, trouble="", limit=placed.limit or now.limit))
    for array in placed.arrays:
        print(f"slurm: {array.cells} of the cells that waited submitted as job {array.job}", flush=True)
    return sum(array.cells for array in placed.arrays)
