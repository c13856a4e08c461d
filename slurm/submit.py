"""From cells to job arrays: everything is checked, then a snapshot of the program is submitted."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.disk import ROOT, write_json
from lightning_module.support.errors import ConfigError
from slurm import cluster, store
from slurm.options import Options
from slurm.resources import Resources, Task, arrays, correction, resources, throttles
from slurm.script import Executor, parameters

ROOMS = ("ablations", "conf", "lightning_module", "slurm")
"""What a job needs of the program."""

HOSTS_CHECKED = 64
"""Nodes of a partition whose address is looked up before a submission over several nodes."""


@dataclass(frozen=True)
class Submitted:
    """One array. job: its id; folder: under RUNS/slurm; cells: how many."""

    job: str
    folder: Path
    cells: int
    needs: Resources


def snapshot(runs: Path) -> Path:
    """A copy of the program in RUNS/slurm/code, one for each content, which edits do not reach."""
    found = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*")))
    files = [path for path in found if path.suffix in (".py", ".yaml")]
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    target = runs / store.FOLDER / "code" / digest.hexdigest()[:12]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent))
        temporary.chmod(0o755)
        for path in files:
            copy = temporary / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        with contextlib.suppress(OSError):  # another client was faster
            temporary.rename(target)
    return target


@contextlib.contextmanager
def _one_client(runs: Path) -> Iterator[None]:
    """Two clients that submit at the same time would both find a cell not queued."""
    folder = runs / store.FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ConfigError(
            f"runs={runs} is not a folder one can write to ({error.strerror}); choose a shared one"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def active(runs: Path, cells: Sequence[Cell]) -> dict[str, cluster.Job]:
    """identity -> job of those cells that are queued or running now."""
    wanted = {cell.identity for cell in cells}
    places = [
        (cell["identity"], array.name, array.element(index)[0])
        for array in store.arrays(runs)
        for index, cell in enumerate(array.cells)
        if cell["identity"] in wanted
    ]
    found = cluster.jobs(sorted({name for _, name, _ in places}))
    jobs = ((identity, found.get((name, element))) for identity, name, element in places)
    return {identity: job for identity, job in jobs if job and job.active}


def _measured(runs: Path) -> list[tuple[Task, float]]:
    """Seconds per step of the cells that have trained into this runs folder, evaluation included."""
    pairs = []
    for found in record.read_all(runs).values():
        # The first epoch pays for the start.
        steps = found.last.get("step", 0) - found.epochs[0]["step"] if found.epochs else 0
        seconds = sum(epoch.get("seconds", 0.0) for epoch in found.epochs[1:])
        about = found.attempts[-1] if found.attempts else {}
        if steps > 0 and seconds > 0 and "hardware" in about:
            flat = found.cell["config"]
            config = {
                "model": {"depth": flat.get("model.depth", 50)},
                "recipe": {"batch_size": flat["recipe.batch_size"]},
                "trainer": {
                    "accelerator": "cpu" if about["hardware"].endswith("threads") else "gpu",
                    "devices": about.get("devices", 1),
                    "nodes": 1,
                },
            }
            pairs.append(
                (Task(config, found.cell["multiply_adds"], found.cell["parameters"]), seconds / steps)
            )
    return pairs


def task(cell: Cell) -> Task:
    """What decides the cost of a cell."""
    return Task(cell.config, cell.multiply_adds, cell.parameters)


def submit(
    cells: Sequence[Cell], runs: Path, options: Options, sweep: str, site: cluster.Site
) -> tuple[list[Submitted], dict[str, str]]:
    """Submit what is not queued or running yet -> (arrays, {identity: id of the job that has it already}).

    Every cell and every array is checked first, so an error leaves nothing behind.
    """
    runs = runs.absolute()
    python = options.python or shlex.quote(sys.executable)
    with _one_client(runs), cluster.outside_of_jobs():
        there = active(runs, cells)
        left = [cell for cell in cells if cell.identity not in there]
        measured = _measured(runs)
        wanted = []
        for cell in left:
            limits = site.limits(options.of(cell.config).partition)
            alike = [(other, seconds) for other, seconds in measured if other.gpu == task(cell).gpu]
            slower = correction(alike, options.cpus_per_task or 2)
            wanted.append((cell, resources(task(cell), options, limits, slower)))
        _check_addresses(left, options)
        groups = arrays(wanted, site.largest_array)
        code = snapshot(runs)
        stamp = f"{sweep}.{time.strftime('%y%m%d-%H%M%S')}-{os.getpid()}"
        executors = []
        sizes = [math.ceil(len(members) / needs.cells) for needs, members in groups]
        shares = throttles(sizes, options.array_parallelism)
        for number, ((needs, members), size, share) in enumerate(zip(groups, sizes, shares, strict=True)):
            name = f"{stamp}.{number}"
            told = parameters(name, needs, options, share, code)
            executor = Executor(runs / store.FOLDER / name, python, told, size)
            executor.test()
            executors.append((name, needs, members, executor))
        done = []
        for name, needs, members, executor in executors:
            names = tuple({"identity": cell.identity, "name": cell.name} for cell in members)
            about = (name, sweep, stamp, time.time(), str(code), names, asdict(options), needs.cells)
            array = store.Array(*about)
            try:
                done.append(_submit_one(array, needs, members, executor))
            except cluster.SlurmError as error:
                if not done:
                    raise
                jobs, count = ", ".join(one.job for one in done), sum(one.cells for one in done)
                raise cluster.SlurmError(
                    f"{error}; {count} of {len(left)} cells were submitted before that (job {jobs}): "
                    "run the same command again for the rest when some have ended"
                ) from error
    return done, {identity: job.id for identity, job in there.items()}


def _check_addresses(cells: Sequence[Cell], options: Options) -> None:
    """Nodes that train one cell meet at the name of the first: ConfigError if that cannot work.

    It would not fail but hang, for half an hour.
    """
    if "MASTER_ADDR" in os.environ:
        return
    several = [cell for cell in cells if cell.config["trainer"]["nodes"] > 1]
    for partition in sorted({options.of(cell.config).partition or "" for cell in several}):
        names = cluster.hosts(partition or None)[:HOSTS_CHECKED]
        if missing := cluster.unresolvable(names):
            raise ConfigError(
                f"trainer.nodes is above 1, but {missing[0]} has no address (of {len(names)} nodes tried, "
                f"{len(missing)} have none); add them to the name service, or set MASTER_ADDR"
            )


def _submit_one(array: store.Array, needs: Resources, members: list[Cell], executor: Executor) -> Submitted:
    folder = Path(executor.folder)
    folder.mkdir()
    store.write_array(folder, array, members)
    try:
        job = executor.submit_array()
    except Exception as error:
        # The folder stays: sbatch may have been cut off after SLURM took the job, which is then found by its name.
        raise cluster.SlurmError(
            f"sbatch refused {array.name}: {str(error).strip().splitlines()[-1]}"
        ) from error
    write_json(folder / "job.json", {"job": job})
    return Submitted(job, folder, len(members), needs)
