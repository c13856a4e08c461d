"""How many jobs SLURM takes: an array is offered whole, and in smaller parts while a limit of submitted jobs refuses it.

Limits of accounts, partitions and users come together, so only SLURM knows what fits.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from lightning_module.cell.identity import Cell
from lightning_module.support.disk import write_json
from slurm import cluster, script, store
from slurm.options import Options
from slurm.resources import Resources

LIMIT = re.compile(r"\b(?:Assoc|QOS)\w*Submit\w*Limit\b")
"""SLURM's names of the limits of jobs that wait and run, such as AssocMaxSubmitJobLimit."""

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


class FullError(cluster.SlurmError):
    """SLURM takes no more jobs now; the text is its name of the limit."""


def executor(
    runs: Path, about: store.Array, offer: Offer, options: Options, throttle: int
) -> tuple[store.Array, script.Executor]:
    """An array of these cells, and what submits it."""
    stem = f"{about.submission}."
    number = next(number for number in count() if not (runs / store.FOLDER / f"{stem}{number}").exists())
    names = tuple({"identity": cell.identity, "name": cell.name} for cell in offer.cells)
    array = replace(about, name=f"{stem}{number}", cells=names, cells_per_job=offer.needs.cells)
    size = math.ceil(len(offer.cells) / offer.needs.cells)
    folder = runs / store.FOLDER / array.name
    titles = [[offer.cells[index].name for index in array.members(element)] for element in range(size)]
    code = Path(about.code)
    return array, script.executor(
        folder, offer.needs, options, throttle, code, [", ".join(title) for title in titles]
    )


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
            except FullError as error:
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
            size = size // 2 if refused else 2 * size
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
    try:
        job = made.submit_array()
    except Exception as error:
        if limit := LIMIT.search(str(error)):
            shutil.rmtree(folder)
            raise FullError(limit[0]) from error
        # The folder stays: sbatch may have been cut off after SLURM took the job, which is then found by its name.
        reason = str(error).strip().splitlines()[-1]
        raise cluster.SlurmError(f"sbatch refused {array.name}: {reason}") from error
    write_json(folder / "job.json", {"job": job})
    return Submitted(job, len(part.cells), part.needs)
