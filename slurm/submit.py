"""From a sweep to job arrays: everything is checked, then a snapshot of the program is submitted."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ablations.sweep import estimate, studies
from ablations.sweep.plan import ACTIONS, Sweep, announce
from ablations.sweep.preflight import check_data, check_records
from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.command_line import command
from lightning_module.support.disk import Lock
from lightning_module.support.errors import ConfigError
from lightning_module.support.text import counted, visible
from slurm import listing, script, store, waiting
from slurm.cluster import RefusedError, hostnames
from slurm.feed import give
from slurm.listing import Job
from slurm.options import Options, gpu_count
from slurm.places import Offer, Submitted, executor, place
from slurm.resources import arrays, kind, resources, throttles
from slurm.site import Site, discover, hosts, unresolvable
from slurm.snapshot import find_networks, snapshot
from slurm.status import follow, unseen_arrays
from slurm.waiting import Waiting, WaitingCell
from slurm.watchdog import warnings

HOSTS_CHECKED = 64
"""Nodes of a partition whose address is looked up before a submission over several nodes."""


@dataclass(frozen=True)
class Outcome:
    """What came of a submission. there: identity -> job that has it already. waiting: cells that SLURM did not take.

    limit: SLURM's name of the reason.
    """

    arrays: list[Submitted]
    there: Mapping[str, Job]
    waiting: int = 0
    limit: str = ""

    @property
    def at_work(self) -> bool:
        """Whether this user has jobs of it, at whose end there is a place."""
        return bool(self.arrays) or _any_own(self.there)


def _any_own(there: Mapping[str, Job]) -> bool:
    return any(job.user == listing.user_name() for job in there.values())


def check_folder(runs: Path) -> None:
    """ConfigError for a runs folder whose logs SLURM would write elsewhere: it replaces %j and its like in --output."""
    if odd := next((character for character in "%\\" if character in str(runs.absolute())), None):
        raise ConfigError(
            f"runs={runs} has {odd} in its path, which SLURM replaces in the names of logs; choose another folder"
        )


def active(runs: Path, cells: Sequence[Cell], sure: bool) -> dict[str, Job]:
    """identity -> job of those cells that are queued or running now, whoever submitted them.

    sure: that what another user submitted, whose jobs SLURM hides from this one, is over.
    """
    wanted = {cell.identity for cell in cells}
    places = [
        (cell["identity"], array, array.element(index)[0])
        for array in store.arrays(runs)
        for index, cell in enumerate(array.cells)
        if cell["identity"] in wanted
    ]
    jobs = listing.jobs(sorted({array.name for _, array, _ in places}))
    newest = {identity: array for identity, array, _ in places}
    unseen = {} if sure else unseen_arrays(newest.values(), jobs)
    there = {
        identity: Job("", array.name, 0, "", reason=unseen[array.name], user=array.user)
        for identity, array in newest.items()
        if array.name in unseen and record.read(runs / identity).state in ("planned", "killed")
    }
    found = ((identity, jobs.get((array.name, element))) for identity, array, element in places)
    return there | {identity: job for identity, job in found if job and job.active}


def submit(
    cells: Sequence[Cell],
    runs: Path,
    options: Options,
    sweep: str,
    site: Site,
    sure: bool = False,
    keep: bool = True,
) -> Outcome:
    """Submit what is not queued or running yet, as far as SLURM takes it.

    sure: see `active`. keep: whether what does not fit is kept for whoever submits what waits.

    Every cell and every array is checked first, so an error leaves nothing behind.
    """
    runs = runs.absolute()
    find_networks(cells)
    # Two clients that submit at the same time would both find a cell not queued; each may need a minute.
    with Lock(runs / store.FOLDER, patience=math.inf):
        there = active(runs, cells, sure)
        left = [cell for cell in cells if cell.identity not in there]
        measured = estimate.measured(runs)
        speeds = {device: estimate.of_device(measured, device) for device in ("gpu", "cpu")}
        wanted = []
        for cell in left:
            limits = site.limits(options.of(cell.config).partition)
            wanted.append((cell, resources(cell, options, limits, speeds[kind(cell)])))
        _check_addresses(left, options, site)
        for line in warnings(left, runs, options.signal_seconds):
            print(line)
        groups = arrays(wanted, site.largest_array)
        sizes = [math.ceil(len(members) / needs.cells) for needs, members in groups]
        shares = throttles(sizes, options.array_parallelism)
        code, now = snapshot(runs, left), time.time()
        stamp = f"{sweep}.{time.strftime('%y%m%d-%H%M%S', time.localtime(now))}-{os.getpid()}"
        about = store.Array("", sweep, stamp, now, str(code), (), asdict(options), user=listing.user_name())
        offers = [Offer(*group, share) for group, share in zip(groups, shares, strict=True)]
        if offers:
            script.check_setup(options.setup)
        for offer in offers:
            executor(runs, about, offer, options, offer.throttle)[1].test()
        placed = place(runs, about, offers, options)
        # Else they stay where they may wait already: jobs of a colleague submit only what waits of the colleague.
        waits = placed.left if keep and (placed.arrays or _any_own(there) or options.wait) else []
        fed = [job for one in waiting.read_all(runs) if one.about.sweep == sweep for job in one.fed]
        waiting.take(runs, {cell.identity for cell, _ in wanted if placed.arrays or waits})
        if waits:
            queue = tuple(WaitingCell.of(*pair) for pair in waits)
            waiting.write(runs, Waiting(about, placed.limit, queue, tuple(fed)))
    return Outcome(placed.arrays, there, len(placed.left), placed.limit)


def submit_sweep(sweep: Sweep, options: Options) -> None:
    """Submit what is left of a sweep, say so, and follow it if asked to."""
    runs, name = sweep.runs.absolute(), sweep.manifest.name
    options.check_cells([cell.config for cell in sweep.cells])
    site = discover()
    todo, done = [], 0
    say_devices(sweep.cells, options, site)
    for cell in sweep.cells:
        known = record.read(runs / cell.identity)
        check_records([known])
        if ACTIONS[known.state] in ("run", "resume", "retry"):
            todo.append(for_cluster(cell, options, site))
        elif known.damage:
            print(visible(f"  {cell.name}: {known.damage}"))
        else:
            done += known.state in record.FINAL
    check_data(todo)  # also downloads what is missing: compute nodes are often offline
    # Before the jobs: reports must know what runs, whatever happens here.
    announce(sweep, kind(todo[0]) if todo else "gpu")
    outcome = submit(todo, runs, options, name, site)
    if outcome.waiting and not outcome.at_work and not options.wait:
        raise RefusedError(waiting_line(outcome, options))
    waits = f", {outcome.waiting} waiting for a place" if outcome.waiting else ""
    print(
        f"{name}: {counted(len(sweep.cells), 'cell')}, {done} finished before, {len(outcome.there)} queued or running, "
        f"{sum(array.cells for array in outcome.arrays)} submitted{waits}"
    )
    for item in sweep.manifest.excluded:
        print(f"  left out: {item['reason']}")
    for array in outcome.arrays:
        print(f"  job {array.job}: {counted(array.cells, 'cell')}, {array.needs}")
    names = {cell.identity: cell.name for cell in todo}
    for identity, job in outcome.there.items():
        if job.user != listing.user_name():
            print(visible(f"  {names[identity]}: {f'job {job.id}, by {job.user}' if job.id else job.reason}"))
    if outcome.waiting:
        print(f"  {waiting_line(outcome, options)}")
    print(
        f"Follow:  {command('status', name, '--watch', runs=sweep.runs)}   # also: logs CELL, cancel, retry"
    )
    print(f"Report:  {command('report', name, runs=sweep.runs)}")
    if options.wait:
        follow(runs, [name], lambda: give(runs, name))


def waiting_line(outcome: Outcome, options: Options) -> str:
    """How many cells SLURM did not take, why, and what submits them."""
    if not outcome.at_work and not options.wait:
        who = "run the same again when some of your jobs have ended, or with hydra.launcher.wait=true"
    elif options.wait:
        who = "this command submits them as places come free"
    elif options.feed:
        who = "the sweep's jobs submit them at their end, and so does the same command"
    else:
        who = (
            "the same command submits them when some jobs have ended; with hydra.launcher.feed=true the jobs do, "
            "with hydra.launcher.wait=true the command, which then stays"
        )
    wait = "wait" if outcome.waiting > 1 else "waits"
    return f"{counted(outcome.waiting, 'cell')} {wait} for a place ({outcome.limit}): {who}"


def for_cluster(cell: Cell, options: Options, site: Site) -> Cell:
    """A cell that any node can train: absolute paths, `accelerator=auto` decided by what is asked for."""
    config = dict(cell.config)
    config["runs"] = str(Path(config["runs"]).absolute())
    if config["data"].get("root") is not None:
        config["data"] = {**config["data"], "root": str(Path(config["data"]["root"]).expanduser().absolute())}
    if place := config.get("studies"):
        config["studies"] = studies.absolute(str(place))
    if config["trainer"]["accelerator"] == "auto":
        own = options.of(cell.config)
        gpus = gpu_count(own.gpus_per_node) if own.gpus_per_node else site.limits(own.partition).gpus
        config["trainer"] = {**config["trainer"], "accelerator": "gpu" if gpus else "cpu"}
    return replace(cell, config=config)


def say_devices(cells: Sequence[Cell], options: Options, site: Site) -> None:
    """Say once for each partition that cells train on its CPUs only because nobody named one with GPUs."""
    own = [options.of(cell.config) for cell in cells if cell.config["trainer"]["accelerator"] == "auto"]
    for partition in sorted({one.partition or site.default for one in own if not one.gpus_per_node}):
        if line := site.without_gpus(partition):
            print(line)


def _check_addresses(cells: Sequence[Cell], options: Options, site: Site) -> None:
    """Nodes that train one cell meet at the name of the first: ConfigError if that cannot work.

    It would not fail but hang, for half an hour.
    """
    if any(re.search(r"(\bexport|\s-x)\b.*\bMASTER_ADDR\b", line) for line in options.setup):
        return
    several = [options.of(cell.config) for cell in cells if cell.config["trainer"]["nodes"] > 1]
    default = "" if site.routes else site.default
    for partition, exclude in sorted({(own.partition or default, own.exclude or "") for own in several}):
        avoided = set(hostnames(exclude))
        names = [name for name in hosts(partition) if name not in avoided][:HOSTS_CHECKED]
        if missing := unresolvable(names):
            raise ConfigError(
                f"trainer.nodes is above 1, but {missing[0]} has no address (of {len(names)} nodes tried, "
                f"{len(missing)} have none); add them to the name service, avoid them with hydra.launcher.exclude, "
                "or say 'hydra.launcher.setup=[\"export MASTER_ADDR=...\"]' (of your shell it does not count)"
            )
