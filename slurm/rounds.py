"""A study in rounds on the cluster until its claims are settled, with nobody watching.

A round is decided and written down, its cells are submitted, and after them a small job, the controller, that waits
for their end and does the same again. Client and controller do one thing, `_go_on`, under one lock of the sweep: it
finds out from manifest, records and queue how far the sweep has come, and does what is missing. So whoever was stopped
between two steps is followed by anybody, and what is done is not done twice.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from ablations.sweep.plan import Sweep
from ablations.sweep.preflight import check_data
from ablations.sweep.rounds import Round, Standing, next_round
from ablations.sweep.settle import announced, stands, told
from lightning_module.cell import record
from lightning_module.support.command_line import command
from lightning_module.support.disk import Lock
from lightning_module.support.errors import ConfigError, one_line
from lightning_module.support.text import counted
from slurm import cluster, listing, script, settled, store
from slurm.cluster import RefusedError, SlurmError
from slurm.options import Options, parse_options
from slurm.resources import kind
from slurm.settled import Settled
from slurm.site import discover
from slurm.snapshot import snapshot
from slurm.status import SubmittedCell, follow, survey
from slurm.submit import for_cluster, say_devices, submit

T = TypeVar("T")

MINUTES, MEMORY = 15, "2G"
"""What a controller asks for; it takes some seconds."""

LOOK_AGAIN = "now+10minutes"
"""When a controller starts that has no job to wait for: a process outside of SLURM trains its cells, or whoever
submitted it was stopped before it had submitted cells."""


@dataclass(frozen=True)
class _Look:
    """How far a sweep has come. last: the round that has no end yet. waiting: a controller in the queue. rows: the
    cells of that round. going: those of them whose jobs wait or run and have no result yet."""

    now: Standing
    last: Round | None = None
    waiting: str = ""
    rows: Sequence[SubmittedCell] = ()

    @property
    def going(self) -> list[SubmittedCell]:
        return [
            row for row in self.rows if row.job and row.job.active and row.record.state not in record.FINAL
        ]


def _look(sweep: Sweep, asked: Settled, retry: bool) -> _Look:
    """retry: see Standing."""
    now = stands(sweep, asked.kind, retry)
    if not now.rounds or now.rounds[-1].end:
        return _Look(now)
    last = now.rounds[-1]
    (progress,) = settled.survey(sweep.runs, [asked.name])
    waiting = [
        job.id for job in progress.jobs if job.state in listing.WAITING and job.name == progress.controller
    ]
    rows = [row for row in survey(sweep.runs, [asked.name]) if row.identity in last.cells]
    return _Look(now, last, next(iter(waiting), ""), rows)


def submit_rounds(sweep: Sweep, options: Options) -> None:
    """Begin to settle a sweep, or go on with it where it was left, and follow it if asked to."""
    runs, name = sweep.runs.absolute(), sweep.manifest.name
    options.check_cells([cell.config for cell in sweep.cells])
    site = discover()
    say_devices(sweep.cells, options, site)
    cells = tuple(for_cluster(cell, options, site) for cell in sweep.cells)
    sweep = replace(sweep, cells=cells, runs=runs)
    known = [record.read(runs / cell.identity).state for cell in cells]
    check_data([cell for cell, state in zip(cells, known, strict=True) if state not in record.FINAL])
    with Lock(settled.folder(runs, name), patience=math.inf):
        asked = settled.read(runs, name)
        look = _look(sweep, asked, retry=True) if asked else None
        if not (asked and look and (look.waiting or look.going)):
            asked = settled.write(sweep, asdict(options), kind(cells[0]))
            look = _look(sweep, asked, retry=True)
        elif settled.is_cancelled(runs, name):
            raise ConfigError(
                f"{name} was cancelled, and its jobs have not ended yet; run it again in a minute"
            )
        elif sweep.budget != asked.budget:
            raise ConfigError(
                f"{name} is under way with {_budget(asked)}; to change that, cancel it first: "
                + command("cancel", name, runs=sweep.runs)
            )
        _go_on(sweep, asked, look, retry=True)
    print(f"Follow:  {command('status', name, '--watch', runs=runs)}   # also: logs CELL, cancel, retry")
    print(f"Report:  {command('report', name, runs=runs)}", flush=True)
    if options.wait:
        follow(runs, [name])


def _budget(asked: Settled) -> str:
    return "no budget" if asked.budget is None else f"budget={asked.budget:g}"


def controller(folder: Path) -> int:
    """What a controller does, as the exit code of its job. folder: of the settled sweep."""
    runs, name = folder.parent.parent, folder.name.removesuffix(settled.SUFFIX)
    job = os.environ["SLURM_JOB_ID"]
    (folder / "stopped").unlink(missing_ok=True)  # of an earlier one
    try:
        cluster.patiently(lambda: _decide(runs, name, job))
    except (SlurmError, ConfigError) as error:
        why = one_line(error)
        (folder / "stopped").write_text(why, encoding="utf-8")
        print(f"slurm: {why}; the sweep's command goes on", flush=True)
        return 1
    return 0


def _decide(runs: Path, name: str, job: str) -> None:
    discover()  # does this node have the commands at all?
    with Lock(settled.folder(runs, name), patience=math.inf):
        asked = settled.read(runs, name)
        if asked is None:
            raise ConfigError(f"{settled.folder(runs, name)}/settle.json is lost")
        if settled.is_cancelled(runs, name):
            print("slurm: the sweep was cancelled; nothing follows")
            return
        state = cluster.job_now(job).get("JobState", "unknown")
        if state != "RUNNING":  # cancelled while it waited for the lock: nothing must start any more
            raise ConfigError(f"SLURM says that job {job}, which decides the next round, is {state}")
        sweep = settled.sweep(runs, asked)
        _go_on(sweep, asked, _look(sweep, asked, retry=False), retry=False)


def _go_on(sweep: Sweep, asked: Settled, look: _Look, retry: bool) -> None:
    """Decide the next round, or take up the one that has not ended; submit what is missing of it, and its controller.

    retry: on behalf of somebody, who also wants what failed or was cancelled tried again.
    """
    # A client may be lost between the controller and the cells.
    lost = retry and any(row.state == "planned" for row in look.rows)
    if look.last and look.waiting and not lost:
        print(
            f"{asked.name}: round {look.last.number} is under way; "
            f"job {look.waiting} decides the next one when its cells have ended"
        )
        return
    options = parse_options(asked.options)
    made = look.last if look.last and look.going else next_round(look.now)
    again = look.last is not None and made.number == look.last.number
    if again:
        todo = _left_of(look.rows, asked, sweep.runs, options.max_requeues, look.going, retry)
    else:
        states = {each.identity: each.state for each in look.now.results}
        todo = {name for name in made.cells if states[name] in ("planned", "killed", "failed")}
    decides = [] if made.end else _controller(sweep, asked, made, options)
    if decides:
        _offered(cluster.test_only, decides)
    if not again:
        announced(sweep, made, asked.kind)
    print("\n".join(told(made, look.now)), flush=True)
    if made.end:
        return
    cells = [cell for cell in sweep.cells if cell.identity in todo]
    # Its place first: without cells it looks again later, but cells without it would be the end of the sweep.
    job = look.waiting or _offered(cluster.sbatch, decides)
    try:
        outcome = submit(cells, sweep.runs, options, asked.name, discover(), keep=options.feed)
        if outcome.waiting and not (outcome.arrays or outcome.there or look.going):
            raise RefusedError(
                f"SLURM takes no cell beside the job that decides the next round ({outcome.limit})"
            )
    except BaseException:
        with contextlib.suppress(SlurmError):
            cluster.call("scancel", job)
        raise
    for array in outcome.arrays:
        print(f"  job {array.job}: {counted(array.cells, 'cell')}, {array.needs}")
    if outcome.waiting:
        print(
            f"  {counted(outcome.waiting, 'cell')} wait for a place ({outcome.limit}): job {job} submits them"
        )
    # A whole array where it is ours; of another sweep the elements with our cells.
    going = [
        row.job.id.partition("_")[0] if row.array and row.array.sweep == asked.name else row.job.id
        for row in look.going
        if row.job
    ]
    there = (found.id for found in outcome.there.values() if found.id)
    after = dict.fromkeys([*(array.job for array in outcome.arrays), *there, *going])
    if after:
        ends = "afterany:" + ":".join(after)
        try:
            cluster.call("scontrol", "update", f"jobid={job}", f"dependency={ends}", "StartTime=now")
        except SlurmError as error:
            print(f"  job {job} looks again in ten minutes ({error})")
    print(f"  job {job} decides the next round when they have ended", flush=True)


def _left_of(
    rows: Sequence[SubmittedCell],
    asked: Settled,
    runs: Path,
    most: int,
    going: Sequence[SubmittedCell],
    retry: bool,
) -> set[str]:
    """The cells of a round to submit, or to submit again; ConfigError if one holds it up.

    A controller does not try again what somebody cancelled, or what ended without a result more often than `most`.
    """
    todo = {row.identity for row in rows if row.state in ("planned", "waiting", "killed", "cancelled")}
    if retry:
        return todo | {row.identity for row in rows if row.state == "failed" and row not in going}
    ours = [array for array in store.arrays(runs) if array.time >= asked.time]
    tries = Counter(cell["identity"] for array in ours for cell in array.cells)
    for row in rows:
        cancelled = row.state == "cancelled" and tries[row.identity]
        if (cancelled or tries[row.identity] > most) and row.identity in todo and not going:
            raise ConfigError(
                f"{row.name} {'was cancelled' if cancelled else f'ended {tries[row.identity]} times without a result'}"
            )
        if cancelled:
            todo.discard(row.identity)
    return todo


def _offered(submission: Callable[..., T], decides: Sequence[str]) -> T:
    """What comes of the submission of a controller."""
    try:
        return submission(*decides)
    except SlurmError as error:
        raise RefusedError(f"SLURM refuses the job that is to decide the next round ({error})") from error


def _controller(sweep: Sweep, asked: Settled, made: Round, options: Options) -> list[str]:
    """Arguments of sbatch for the job that decides what follows a round, which waits for no other yet."""
    script.check_setup(options.setup)
    place = settled.folder(sweep.runs, asked.name)
    code = snapshot(sweep.runs, sweep.cells)
    decide = f"-u {shlex.quote(str(code / 'slurm' / 'start.py'))} settle {shlex.quote(str(place))}"
    lines = [
        "#!/bin/bash",
        *([f"export RESIDUAL_COMMIT={known}"] if (known := script.commit()) else []),
        *options.setup,
        *script.outside(options, decide),
    ]
    path = place / "controller.sh"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    wanted = {
        "job-name": asked.controller(made.number),
        "output": str(place / "controller-%j.out"),
        "open-mode": "append",
        "chdir": str(code),
        "ntasks": 1,
        "cpus-per-task": 1,
        "mem": MEMORY,
        "time": MINUTES,
        "requeue": True,
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "wckey": options.wckey,
        "begin": LOOK_AGAIN,
        "kill-on-invalid-dep": "no",
        **options.more_sbatch,
    }
    return [*cluster.flags(wanted), str(path)]
