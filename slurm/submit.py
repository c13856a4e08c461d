"""From a sweep to job arrays: everything is checked, then a snapshot of the program is submitted."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ablations.sweep import estimate
from ablations.sweep.plan import ACTIONS, Sweep, announce
from ablations.sweep.preflight import check_data, check_records
from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.command_line import command
from lightning_module.support.disk import ROOT, Lock, write_json
from lightning_module.support.errors import ConfigError
from lightning_module.support.text import visible
from slurm import cluster, script, store
from slurm.options import Options
from slurm.resources import Resources, arrays, kind, resources, throttles
from slurm.site import Site, discover, hosts, unresolvable
from slurm.status import follow

ROOMS = ("ablations", "conf", "lightning_module", "slurm")
"""What a job needs of the program."""

HOSTS_CHECKED = 64
"""Nodes of a partition whose address is looked up before a submission over several nodes."""


@dataclass(frozen=True)
class Submitted:
    """One array. job: its id. cells: how many. needs: what each of them asks for."""

    job: str
    cells: int
    needs: Resources


def snapshot(runs: Path) -> Path:
    """A copy of the program in RUNS/slurm/code, one for each content, which edits do not reach."""
    every = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*")))
    files = [path for path in every if path.suffix in (".py", ".yaml")]
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


def active(runs: Path, cells: Sequence[Cell]) -> dict[str, cluster.Job]:
    """identity -> job of those cells that are queued or running now."""
    wanted = {cell.identity for cell in cells}
    places = [
        (cell["identity"], array.name, array.element(index)[0])
        for array in store.arrays(runs)
        for index, cell in enumerate(array.cells)
        if cell["identity"] in wanted
    ]
    jobs = cluster.jobs(sorted({name for _, name, _ in places}))
    pairs = ((identity, jobs.get((name, element))) for identity, name, element in places)
    return {identity: job for identity, job in pairs if job and job.active}


def submit(
    cells: Sequence[Cell], runs: Path, options: Options, sweep: str, site: Site
) -> tuple[list[Submitted], dict[str, str]]:
    """Submit what is not queued or running yet -> (arrays, {identity: id of the job that has it already}).

    Every cell and every array is checked first, so an error leaves nothing behind.
    """
    runs = runs.absolute()
    # Two clients that submit at the same time would both find a cell not queued; each may need a minute.
    with Lock(runs / store.FOLDER, patience=math.inf):
        there = active(runs, cells)
        left = [cell for cell in cells if cell.identity not in there]
        measured = estimate.measured(runs)
        speeds = {device: estimate.of_device(measured, device) for device in ("gpu", "cpu")}
        wanted = []
        for cell in left:
            limits = site.limits(options.of(cell.config).partition)
            wanted.append((cell, resources(cell, options, limits, speeds[kind(cell)])))
        _check_addresses(left, options)
        groups = arrays(wanted, site.largest_array)
        sizes = [math.ceil(len(members) / needs.cells) for needs, members in groups]
        shares = throttles(sizes, options.array_parallelism)
        code, now = snapshot(runs), time.time()
        stamp = f"{sweep}.{time.strftime('%y%m%d-%H%M%S', time.localtime(now))}-{os.getpid()}"
        checked = []
        for number, ((needs, members), size, share) in enumerate(zip(groups, sizes, shares, strict=True)):
            names = tuple({"identity": cell.identity, "name": cell.name} for cell in members)
            about = (f"{stamp}.{number}", sweep, stamp, now, str(code), names, asdict(options), needs.cells)
            array = store.Array(*about)
            executor = script.executor(runs / store.FOLDER / array.name, needs, options, share, code, size)
            executor.test()
            checked.append((array, needs, members, executor))
        done: list[Submitted] = []
        for array, needs, members, executor in checked:
            try:
                done.append(Submitted(_submit_one(array, members, executor), len(members), needs))
            except cluster.SlurmError as error:
                if not done:
                    raise
                jobs, count = ", ".join(one.job for one in done), sum(one.cells for one in done)
                raise cluster.SlurmError(
                    f"{error}; {count} of {len(left)} cells were submitted before that (job {jobs}): "
                    "run the same command again for the rest when some have ended"
                ) from error
    return done, {identity: job.id for identity, job in there.items()}


def submit_sweep(sweep: Sweep, options: Options) -> None:
    """Submit what is left of a sweep, say so, and follow it if asked to."""
    runs, name = sweep.runs.absolute(), sweep.manifest.name
    options.check_cells([cell.config for cell in sweep.cells])
    site = discover()
    todo, done = [], 0
    for cell in sweep.cells:
        limits = site.limits(options.of(cell.config).partition)
        known = record.read(runs / cell.identity)
        check_records([known])
        if ACTIONS[known.state] in ("run", "resume", "retry"):
            todo.append(for_cluster(cell, limits.gpus > 0))
        elif known.damage:
            print(visible(f"  {cell.name}: {known.damage}"))
        else:
            done += known.state in record.FINAL
    check_data(todo)  # also downloads what is missing: compute nodes are often offline
    # Before the jobs: reports must know what runs, whatever happens here.
    announce(sweep, kind(todo[0]) if todo else "gpu")
    submitted, there = submit(todo, runs, options, name, site)
    print(
        f"{name}: {len(sweep.cells)} cell{'s' * (len(sweep.cells) != 1)}, {done} finished before, "
        f"{len(there)} queued or running, {sum(array.cells for array in submitted)} submitted"
    )
    for item in sweep.manifest.excluded:
        print(f"  left out: {item['reason']}")
    for array in submitted:
        print(f"  job {array.job}: {array.cells} cell{'s' * (array.cells != 1)}, {array.needs}")
    print(
        f"Follow:  {command('status', name, '--watch', runs=sweep.runs)}   # also: logs CELL, cancel, retry"
    )
    print(f"Report:  {command('report', name, runs=sweep.runs)}")
    if options.wait:
        follow(runs, [name])


def for_cluster(cell: Cell, gpus: bool) -> Cell:
    """A cell that any node can train: absolute paths, `accelerator=auto` decided by the partition."""
    config = dict(cell.config)
    config["runs"] = str(Path(config["runs"]).absolute())
    if "root" in config["data"]:
        config["data"] = {**config["data"], "root": str(Path(config["data"]["root"]).expanduser().absolute())}
    if config["trainer"]["accelerator"] == "auto":
        config["trainer"] = {**config["trainer"], "accelerator": "gpu" if gpus else "cpu"}
    return replace(cell, config=config)


def _check_addresses(cells: Sequence[Cell], options: Options) -> None:
    """Nodes that train one cell meet at the name of the first: ConfigError if that cannot work.

    It would not fail but hang, for half an hour.
    """
    if "MASTER_ADDR" in os.environ:
        return
    several = [cell for cell in cells if cell.config["trainer"]["nodes"] > 1]
    for partition in sorted({options.of(cell.config).partition or "" for cell in several}):
        names = hosts(partition or None)[:HOSTS_CHECKED]
        if missing := unresolvable(names):
            raise ConfigError(
                f"trainer.nodes is above 1, but {missing[0]} has no address (of {len(names)} nodes tried, "
                f"{len(missing)} have none); add them to the name service, or set MASTER_ADDR"
            )


def _submit_one(array: store.Array, members: list[Cell], executor: script.Executor) -> str:
    """Submit a checked array -> the id of its job. SlurmError if SLURM does not take it."""
    folder = Path(executor.folder)
    folder.mkdir()
    store.write_array(folder, array, members)
    try:
        job = executor.submit_array()
    except Exception as error:
        # The folder stays: sbatch may have been cut off after SLURM took the job, which is then found by its name.
        reason = str(error).strip().splitlines()[-1]
        raise cluster.SlurmError(f"sbatch refused {array.name}: {reason}") from error
    write_json(folder / "job.json", {"job": job})
    return job
