"""python -m slurm status | logs | cancel | retry: from any shell, any time after the submission."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C within the imports: program() takes it from there

from ablations.sweep.launcher_words import quoted
from ablations.sweep.overrides import plain_value
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import Cell
from lightning_module.support.command_line import RUNS, Parser, folder
from lightning_module.support.disk import Lock
from lightning_module.support.errors import ConfigError, tell
from lightning_module.support.program import program
from lightning_module.support.text import counted
from slurm import cluster, listing, settled, status, store, waiting
from slurm.cluster import SlurmError
from slurm.options import parse_options
from slurm.shell import with_shell
from slurm.site import discover


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m slurm", description="Cells that were submitted to SLURM.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, cells: str | None = "*") -> Parser:
        added = commands.add_parser(name, help=text, description=text)
        named = "a study, a sweep, a cell's name or identity"
        added.add_argument("wanted", nargs=cells, metavar="CELL", help=named)
        added.add_argument("--runs", type=folder, default=RUNS, help="folder of the records")
        return added

    watching = command("status", "state of every submitted cell")
    watching.add_argument("--watch", action="store_true", help="until nothing is queued or running")
    logs = command("logs", "output of one cell, followed until it ends", cells=None)
    logs.add_argument("--rank", type=int, default=0, help="whose output")
    logs.add_argument("--no-follow", action="store_true", help="print what there is and end")
    cancel = command("cancel", "cancel the jobs of cells")
    cancel.add_argument("--all", action="store_true", help="everything submitted from this runs folder")
    retry = command("retry", "submit again what failed, was cancelled or killed")
    change = "parameter of hydra.launcher to change, such as --set mem=32G"
    retry.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=change)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; bad input ends with one sentence and exit code 2."""
    try:
        asked = _arguments(arguments)
        runs: Path = asked.runs.absolute()
        if not runs.is_dir():
            raise ConfigError(
                f"--runs {asked.runs} is not a folder; name the one that the cells were run with"
            )
        if asked.command == "logs" or (asked.command == "status" and asked.watch):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # it only shows: it ends when nobody looks any more
        if asked.command == "status":
            if asked.watch:
                status.follow(runs, asked.wanted)
            else:
                rows, rounds = status.survey_or_records(runs, asked.wanted)
                print(status.table(rows, runs, rounds))
        elif asked.command == "logs":
            _logs(runs, asked.wanted, asked.rank, not asked.no_follow)
        elif asked.command == "cancel":
            if bool(asked.wanted) == asked.all:
                raise ConfigError("cancel needs a study, a sweep or a cell, or --all; not both")
            _cancel(runs, asked.wanted)
        else:
            _retry(runs, asked.wanted, asked.set)
    except (ConfigError, SlurmError) as error:
        sys.exit(tell(error))


def _logs(runs: Path, wanted: str, rank: int, follow: bool) -> None:
    """Print the log of one cell, and what is added to it until the cell ends."""
    if rank < 0:
        raise ConfigError(f"--rank {rank} is not allowed; ranks are counted from 0")
    rows, _ = status.survey_or_records(runs, [wanted])
    if len(rows) > 1:
        names = ", ".join(shlex.quote(row.name) for row in rows)
        raise ConfigError(f"{wanted} is {len(rows)} cells; name one of {names}")
    row, offset, looked = rows[0], 0, 0.0
    if row.array is None:
        raise ConfigError(f"{row.name} was not submitted yet")
    while True:
        path = store.log_file(runs, row.array, row.index, rank)
        if path and path.stat().st_size > offset:
            with path.open("rb") as file:
                file.seek(offset)
                text = file.read()
            offset += len(text)
            sys.stdout.write(text.decode(errors="replace"))
            sys.stdout.flush()
        elif row.state not in status.OPEN or not follow:
            break
        elif time.monotonic() > looked + status.REFRESH:
            looked = time.monotonic()
            with contextlib.suppress(SlurmError):  # a controller that restarts is no reason to leave
                row = status.survey(runs, [wanted])[0]
        else:
            time.sleep(0.5)
    if row.record.damage:
        print(f"{row.name}: {row.record.damage}", file=sys.stderr)
    elif not offset:
        print(f"{row.name} is {row.state}: it has written nothing yet", file=sys.stderr)


def _cancel(runs: Path, wanted: Sequence[str]) -> None:
    """Cancel jobs, with all cells that share them; finished cells stay finished, and no further round follows."""
    named, _ = status.choose(runs, wanted)
    with Lock(runs / store.FOLDER, patience=math.inf):  # no job submits them meanwhile
        dropped = waiting.drop(runs, named, "it waited for a place")
    if dropped:
        print(f"{counted(len(dropped), 'cell')} that waited for a place will not be submitted")
    stopped = [each.asked.name for each in settled.survey(runs, wanted) if not each.end]
    with contextlib.ExitStack() as locks:  # nobody decides a round meanwhile
        for name in stopped:
            place = settled.folder(runs, name)
            locks.enter_context(Lock(place, patience=math.inf))
            (place / "cancelled").touch()
        deciding = [job.id for each in settled.survey(runs, wanted) for job in each.jobs]
        _cancel_jobs(runs, named, deciding)


def _cancel_jobs(runs: Path, named: Collection[str], others: Sequence[str]) -> None:
    """Cancel the jobs of these cells, by identity, and others."""
    every = status.survey(runs)
    active = [row for row in every if row.job and row.job.active and row.identity in named]
    foreign = {row.job_id: row.job.user for row in active if row.job and row.job.user != listing.user_name()}
    refused = [job for job in foreign if not _cancelled_for(job)]
    ids = [job for job in dict.fromkeys([*others, *(row.job_id for row in active)]) if job not in refused]
    rows = [row for row in every if row.state in status.OPEN and row.job_id in ids]
    for row in rows:
        if row.array:
            # Before it happens: a job that is about to queue itself again looks here.
            (runs / row.identity).mkdir(exist_ok=True)
            store.note(runs / row.identity, "cancel", store.Attempt(row.job_id, 0), array=row.array.name)
    ids = [job for job in ids if job not in foreign]
    for start in range(0, len(ids), 500):
        cluster.call("scancel", *ids[start : start + 500])
    print(
        f"{counted(len(ids) + len(foreign) - len(refused), 'job')} cancelled"
        + "".join(f"\n  {row.name}" for row in rows)
    )
    trouble = [
        f"{row.name} is not cancelled: {row.reason}"
        for row in every
        if row.state == "unknown" and row.identity in named
    ]
    if refused:
        whose = ", ".join(sorted({foreign[job] for job in refused}))
        trouble.append(f"SLURM lets you cancel no jobs of {whose}: {', '.join(refused)} go on")
    if trouble:
        raise SlurmError("; ".join(trouble))


def _cancelled_for(job: str) -> bool:
    """Whether SLURM lets this user cancel the job of another one, which it does for operators."""
    try:
        cluster.call("scancel", job)
    except SlurmError:
        return False
    return True


def _retry(runs: Path, wanted: Sequence[str], changes: Sequence[str]) -> None:
    """Submit cells without a result again, as they were resolved, with today's program."""
    from slurm.feed import give
    from slurm.submit import submit, waiting_line

    words = [quoted(f"hydra.launcher.{change.removeprefix('hydra.launcher.')}") for change in changes]
    own = {word.partition("=")[0].removeprefix("hydra.launcher."): plain_value(word) for word in words}
    follow, told = parse_options(own).wait, list[str]()
    # Who names the cells of another user, whose jobs SLURM hides, knows that they are over.
    again = ("failed", "killed", "cancelled", *(["unknown", "waiting"] if wanted else []))
    queue = waiting.by_identity(waiting.read_all(runs))
    groups: dict[str, tuple[store.Array, list[Cell]]] = {}
    for row in status.survey(runs, wanted):
        if row.state not in again:
            continue
        if row.identity in queue:
            (one, each), array = queue[row.identity], queue[row.identity][0].about
            groups.setdefault(one.about.submission, (array, []))[1].append(_here(each.wanted[0], runs))
        elif row.array:
            path = runs / store.FOLDER / row.array.name / "cells" / f"{row.index}.json"
            groups.setdefault(row.array.name, (row.array, []))[1].append(_here(Cell.read(path), runs))
    if not groups:
        print("Nothing to retry: no cell failed, was killed or cancelled.")
        return
    site = discover()
    for array, cells in groups.values():
        options, said = with_shell(parse_options({**array.options, **own}), os.environ)
        print("".join(f"{line}\n" for line in said if line not in told), end="", flush=True)
        told += said
        outcome = submit(cells, runs, options, array.sweep, site, sure=bool(wanted))
        for submitted in outcome.arrays:
            all_of_them = ", ".join(cell.name for cell in cells)
            some = counted(submitted.cells, "cell")
            print(f"job {submitted.job}: {all_of_them if submitted.cells == len(cells) else some}")
        if outcome.waiting:
            print(waiting_line(outcome, options))
    sweeps = {array.sweep for array, _ in groups.values()}
    for line in settled.lines(runs, settled.survey(runs, sorted(sweeps))):
        print(line)
    if follow:
        named = [cell.identity for _, cells in groups.values() for cell in cells]
        status.follow(runs, named, lambda: [give(runs, sweep) for sweep in sorted(sweeps)])


def _here(cell: Cell, runs: Path) -> Cell:
    """A cell as it was resolved, in a runs folder that may have been moved; ConfigError if its code has changed."""
    config = {**cell.config, "runs": str(runs)}
    parse_config(config)
    return replace(cell, config=config)


if __name__ == "__main__":
    with program():
        main()
