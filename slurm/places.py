"""How many jobs SLURM takes: an array is offered whole, and in smaller parts while a limit refuses it.

Limits of accounts, partitions and users come together, so only SLURM knows what fits.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from lightning_module.cell.identity import Cell
from lightning_module.support.disk import write_json
from lightning_module.support.text import visible
from slurm import cluster, script, store
from slurm.options import Options
from slurm.resources import Resources

Wanted = tuple[Cell, Resources]


@dataclass(frozen=True)
class Submitted:
    """One array. job: its id. cells: how many. needs: what each of them asks for."""

    job: str
    cells: int
    needs: Resources


@dataclass(frozen=True)
class Offer:
    """Cells that ask for the same. throttle: how many of them may run at once."""

    needs: Resources
    cells: Sequence[Cell]
    throttle: int


@dataclass
class Placed:
    """What SLURM took, and what it did not for a limit. limit: SLURM's name of it."""

    arrays: list[Submitted]
    left: list[Wanted]
    limit: str = ""


def executor(
    runs: Path, about: store.Array, offer: Offer, options: Options, throttle: int
) -> tuple[store.Array, script.Executor]:
    """An array of these cells, and what submits it."""
    stem = f"{about.submission}."
    number = next(number for number in count() if not (runs / store.FOLDER / f"{stem}{number}").exists())
    names = tuple({"identity": cell.identity, "name": cell.name} for cell in offer.cells)
    array = replace(about, name=f"{stem}{number}", cells=names, cells_per_job=offer.needs.cells)
    folder = runs / store.FOLDER / array.name
    return array, script.executor(folder, offer.needs, options, throttle, Path(about.code), titles(array))


def titles(array: store.Array) -> list[str]:
    """What each element trains."""
    size = math.ceil(len(array.cells) / array.cells_per_job)
    members = [[array.cells[index]["name"] for index in array.members(element)] for element in range(size)]
    return [visible(", ".join(names)) for names in members]


def place(
    runs: Path, about: store.Array, offers: Sequence[Offer], options: Options, first: int | None = None
) -> Placed:
    """Submit what SLURM takes, in the order of the offers. first: elements to offer at first; None: all.

    The number doubles while SLURM takes it, and from the first refusal on is halved. SlurmError for another refusal.
    """
    placed, full = Placed([], []), set()
    for offer in offers:
        left, each = list(offer.cells), offer.needs.cells
        size, refused = first or math.ceil(len(left) / each), False
        while left and size and offer.needs.partition not in full:
            part = replace(offer, cells=left[: size * each])
            try:
                placed.arrays.append(_submit_one(runs, about, part, len(offer.cells), options))
                left = left[size * each :]
            except cluster.FullError as error:
                refused, placed.limit = True, str(error)
            except cluster.SlurmError as error:
                if not placed.arrays:
                    raise
                jobs = ", ".join(one.job for one in placed.arrays)
                total, all_cells = sum(one.cells for one in placed.arrays), sum(len(o.cells) for o in offers)
                raise cluster.SlurmError(
                    f"{error}; {total} of {all_cells} cells were submitted before that (job {jobs}): "
                    "run the same command again for the rest"
                ) from error
            size = 2 * size if not refused else (size + 1) // 2 if size > 1 else 0
        if left:
            full.add(offer.needs.partition)
            placed.left += [(cell, offer.needs) for cell in left]
    return placed


def _submit_one(runs: Path, about: store.Array, part: Offer, of: int, options: Options) -> Submitted:
    """Submit one array. of: cells of the whole offer, whose throttle the parts share."""
    throttle = max(1, part.throttle * len(part.cells) // of)
    array, made = executor(runs, about, part, options, throttle)
    folder = Path(made.folder)
    folder.mkdir()
    store.write_array(folder, array, part.cells)
    (folder / script.ELEMENTS).write_text("".join(f"{title}\n" for title in titles(array)), encoding="utf-8")
    try:
        job = made.submit_array()
    except cluster.FullError:
        shutil.rmtree(folder)
        raise
    except cluster.SlurmError as error:
        # The folder stays: sbatch may have been cut off after SLURM took the job, which is then found by its name.
        raise cluster.SlurmError(f"sbatch refused {array.name}: {error}") from error
    write_json(folder / "job.json", {"job": job})
    return Submitted(job, len(part.cells), part.needs)
