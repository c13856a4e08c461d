"""python -m slurm status | logs | cancel | retry: from any shell, any time after the submission."""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C within the imports: program() takes it from there

from ablations.sweep.overrides import plain_value
from lightning_module.cell.identity import Cell
from lightning_module.support.command_line import RUNS, Parser, folder
from lightning_module.support.disk import Lock
from lightning_module.support.errors import ConfigError, tell
from lightning_module.support.program import program
from slurm import cluster, settled, status, store
from slurm.cluster import SlurmError
from slurm.options import parse_options
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
                rounds = settled.survey(runs, asked.wanted)
                print(status.table(status.survey(runs, asked.wanted), runs, rounds))
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
    rows = status.survey(runs, [wanted])
    if len(rows) > 1:
        names = ", ".join(row.name for row in rows)
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
    active = (row.job_id for row in every if row.job and row.job.active and row.identity in named)
    ids = list(dict.fromkeys([*others, *active]))
    rows = [row for row in every if row.state in status.OPEN and row.job_id in ids]
    for row in rows:
        if row.array:
            # Before it happens: a job that is about to queue itself again looks here.
            (runs / row.identity).mkdir(exist_ok=True)
            store.note(runs / row.identity, "cancel", store.Attempt(row.job_id, 0), array=row.array.name)
    for start in range(0, len(ids), 500):
        cluster.call("scancel", *ids[start : start + 500])
    print(f"{len(ids)} job{'s' * (len(ids) != 1)} cancelled" + "".join(f"\n  {row.name}" for row in rows))


def _retry(runs: Path, wanted: Sequence[str], changes: Sequence[str]) -> None:
    """Submit cells without a result again, as they were resolved, with today's program."""
    from slurm.submit import submit

    own = {key.partition("=")[0]: plain_value(key) for key in changes}
    parse_options(own)
    groups: dict[str, list[status.SubmittedCell]] = {}
    for row in status.survey(runs, wanted):
        if row.array and row.state in ("failed", "killed", "cancelled"):
            groups.setdefault(row.array.name, []).append(row)
    if not groups:
        print("Nothing to retry: no cell failed, was killed or cancelled.")
    for name, rows in groups.items():
        array = store.read_array(runs / store.FOLDER / name)
        options = parse_options({**array.options, **own})
        cells = [Cell.read(runs / store.FOLDER / name / "cells" / f"{row.index}.json") for row in rows]
        for submitted in submit(cells, runs, options, array.sweep, discover())[0]:
            print(f"job {submitted.job}: {', '.join(row.name for row in rows)}")
    sweeps = {row.array.sweep for rows in groups.values() for row in rows if row.array}
    for line in settled.lines(runs, settled.survey(runs, sorted(sweeps)) if sweeps else []):
        print(line)


if __name__ == "__main__":
    with program():
        main()
