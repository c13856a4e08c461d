"""Cells that wait for a place: SLURM lets a user have so many jobs and takes no more.

RUNS/slurm/waiting/<submission>.json   what one command could not submit; written whole, gone when nothing waits
"""

from __future__ import annotations

import contextlib
import glob
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightning_module.cell.identity import Cell
from lightning_module.support.disk import write_json
from slurm import store
from slurm.resources import Resources

FOLDER = "waiting"


@dataclass(frozen=True)
class WaitingCell:
    """A cell and what it asks for. dropped: why it is not submitted any more, "" while it waits."""

    identity: str
    name: str
    cell: Mapping[str, Any]
    needs: Mapping[str, Any]
    dropped: str = ""

    @classmethod
    def of(cls, cell: Cell, needs: Resources) -> WaitingCell:
        """To be read by another process."""
        return cls(cell.identity, cell.name, asdict(cell), asdict(needs))

    @property
    def wanted(self) -> tuple[Cell, Resources]:
        """What `of` was given."""
        return Cell(**{**self.cell, "overrides": tuple(self.cell["overrides"])}), Resources(**self.needs)


@dataclass(frozen=True)
class Waiting:
    """What waits of one submission. about: what its arrays share. limit: SLURM's name for why they were refused.

    fed: jobs that have given their place away already. trouble: why the last of them could not.
    """

    about: store.Array
    limit: str
    cells: tuple[WaitingCell, ...]
    fed: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def left(self) -> list[WaitingCell]:
        """Those that are still to be submitted."""
        return [cell for cell in self.cells if not cell.dropped]


def path(runs: Path, submission: str) -> Path:
    """Where the cells of a submission wait."""
    return runs / store.FOLDER / FOLDER / f"{submission}.json"


def read(runs: Path, submission: str) -> Waiting | None:
    """What waits of a submission; None if nothing does."""
    try:
        data = json.loads(path(runs, submission).read_bytes())
        about = store.Array(**{**data["about"], "cells": ()})
        cells = tuple(WaitingCell(**cell) for cell in data["cells"])
        texts = [about.sweep, about.user, data["limit"], data["trouble"]]
        texts += [text for cell in cells for text in (cell.identity, cell.name, cell.dropped)]
        if about.submission != submission or not all(isinstance(text, str) for text in texts):
            return None
        folders = (runs / store.FOLDER).glob(f"{glob.escape(submission)}.*")
        if stopped := next(filter(None, map(store.stopped, folders)), ""):
            cells = tuple(replace(cell, dropped=cell.dropped or stopped) for cell in cells)
        return Waiting(about, data["limit"], cells, tuple(data["fed"]), data["trouble"])
    except store.ODD:
        return None


def read_all(runs: Path) -> list[Waiting]:
    """Everything that waits in a runs folder, the oldest submission first."""
    names = [file.stem for file in (runs / store.FOLDER / FOLDER).glob("*.json")]
    every = [read(runs, name) for name in names]
    return sorted((one for one in every if one), key=lambda one: (one.about.time, one.about.submission))


def write(runs: Path, waiting: Waiting) -> None:
    """Keep what waits of a submission. As for all that follows, the caller holds the lock of submissions."""
    place = path(runs, waiting.about.submission)
    if waiting.cells:
        place.parent.mkdir(exist_ok=True)
        write_json(place, asdict(waiting))
    else:
        with contextlib.suppress(FileNotFoundError):
            place.unlink()


def take(runs: Path, identities: Collection[str]) -> None:
    """Let these cells wait no longer: another submission has them."""
    for one in read_all(runs):
        rest = tuple(cell for cell in one.cells if cell.identity not in identities)
        if len(rest) < len(one.cells):
            write(runs, replace(one, cells=rest))


def drop(runs: Path, identities: Collection[str], why: str) -> list[str]:
    """Do not submit these cells any more -> the names of those that waited."""
    names = []
    for one in read_all(runs):
        dropped = [cell for cell in one.left if cell.identity in identities]
        if dropped:
            names += [cell.name for cell in dropped]
            marked = (replace(cell, dropped=why) if cell in dropped else cell for cell in one.cells)
            write(runs, replace(one, cells=tuple(marked)))
    return names


def by_identity(every: Sequence[Waiting]) -> dict[str, tuple[Waiting, WaitingCell]]:
    """identity -> where a cell waits."""
    return {cell.identity: (one, cell) for one in every for cell in one.cells}


def feeders(arrays: Sequence[store.Array], one: Waiting) -> list[str]:
    """Names of those arrays whose jobs submit at their end what waits there: all of the same sweep and user, if any."""
    if not one.about.options.get("feed"):
        return []
    return [array.name for array in arrays if (array.sweep, array.user) == (one.about.sweep, one.about.user)]


def why(one: Waiting, cell: WaitingCell, fed: bool) -> tuple[str, str]:
    """(state, reason) of a cell that is in such a list. fed: whether a job is left that will submit it."""
    if cell.dropped:
        return "cancelled", cell.dropped
    by = "the sweep's command submits it"
    if one.trouble:
        by = f"{one.trouble}; {by}"
    elif fed:
        by = "jobs of the sweep submit it at their end"
    elif one.about.options.get("feed"):
        by = f"no job is left that could; {by}"
    return "waiting", f"for a place ({one.limit}); {by}"
