"""`python -m reports sync ENTITY/PROJECT`: bring W&B to what the records say, and check that it got there.

What is pushed is what the audit finds missing, stale or different, never what a marker file says: so it can
be stopped and run again, and a run that is already right costs nothing. The newest W&B file of a run is
pushed if it alone holds what the record holds; otherwise a new one is made from the record. The exit code of
`wandb sync` says nothing, so the runs are read back from the server and compared. Exit code 0: all there;
1: some are not; 2: bad input.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ablations.cell import Cell, ConfigError
from lightning_module import record
from reports import audit
from reports.sources import Frames

CHUNK = 40
"""Files per call of `wandb sync`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    p = argparse.ArgumentParser(
        "python -m reports sync", description="Pushes runs to W&B and checks them there."
    )
    p.add_argument("where", metavar="ENTITY/PROJECT")
    p.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="default: runs")
    p.add_argument("--dry-run", action="store_true", help="only say what would be pushed")
    options = p.parse_args(arguments)
    try:
        return run(options.where, options.runs, options.dry_run)
    except ConfigError as error:
        print(f"sync: {error}", file=sys.stderr)
        return 2


def run(where: str, runs: Path, dry_run: bool = False) -> int:
    """Push what the audit finds, then audit again."""
    from reports.sources import records
    from reports.sources._wandb_client import place

    entity, project = place(where)
    local = records.load(str(runs), None)
    found = _findings(local, where)
    for finding in found:
        print(f"{finding.kind:<11}{finding.identity}  {finding.name}: {finding.text}")
    open_ones = int((local.runs["state"] == "running").sum())
    if open_ones:
        print(f"{open_ones} still running: left for later")
    if dry_run or not found:
        print(f"{len(found)} of {len(local.runs)} runs to push" if found else f"wandb:{where} has all of it")
        return 0
    files = [_file(runs / finding.identity) for finding in found]
    push(files, entity, project)
    left = _findings(local, where)
    for finding in left:
        print(f"did not arrive: {finding.identity}  {finding.name}: {finding.text}")
    print(f"{len(found) - len(left)} of {len(found)} runs pushed to wandb:{where} and checked there")
    return 1 if left else 0


def _findings(local: Frames, where: str) -> list[audit.Finding]:
    """What a push would mend; a project that is not there yet lacks everything."""
    from reports.sources import wandb_api
    from reports.sources._wandb_client import NotThere

    try:
        other = wandb_api.load(where, None, fresh=True)
    except NotThere:
        other = Frames(local.runs.iloc[:0], local.history.iloc[:0])
    return [finding for finding in audit.compare(local, other) if finding.kind in audit.MENDED_BY_SYNC]


def _file(folder: Path) -> Path:
    """The W&B file that alone holds all that the record holds; made from the record if there is none."""
    from reports.sources import wandb_offline
    from reports.sources._wandb_rows import numbers, settled

    paths = wandb_offline.files(folder)
    if not paths:
        return rebuild(folder)
    told, last = record.read(folder), wandb_offline.read_fragment(paths[-1])
    attempt, status = last.config.get("attempt", {}), last.summary.get("status")
    same = _equal(
        numbers(settled(last.rows, attempt)),
        numbers([{k: v for k, v in line.items() if k != "event"} for line in told.epochs]),
    )
    ended = status == told.state or (told.state == "killed" and status in ("running", "killed"))
    if same and ended and attempt.get("attempt") == len(told.attempts) and not last.damage:
        return paths[-1]
    return rebuild(folder, group=last.about.get("run_group") or None, project=last.about.get("project", ""))


def _equal(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Whether two tables (names, values) are the same, NaN being NaN."""
    import numpy as np

    return bool(one[0] == other[0] and np.array_equal(one[1], other[1], equal_nan=True))


def rebuild(folder: Path, group: str | None = None, project: str = "") -> Path:
    """A new W&B file in a run folder, made from its record alone; ConfigError if that cannot be done."""
    from lightning_module.tracking import Tracker, nested
    from reports.sources import wandb_offline

    told = record.read(folder)
    about = told.cell
    if told.damage or not about:
        raise ConfigError(told.damage or f"{folder} holds no record; nothing can be made from it")
    cell = Cell(
        nested(about["config"]),
        tuple(about["overrides"]),
        about["name"],
        about["parameters"],
        about["multiply_adds"],
    )
    if cell.identity != about["identity"]:
        raise ConfigError(f"the record in {folder} does not belong to its cell; run the cell again")
    before = set(wandb_offline.files(folder))
    tracker = Tracker.open("offline", cell, folder, project=project or "residual-ablations", study=group)
    status = {key: told.status[key] for key in ("reason", "error") if key in told.status}
    tracker.finish(told.state, status)
    made = [path for path in wandb_offline.files(folder) if path not in before]
    if not made:
        raise ConfigError(f"no W&B file could be written in {folder}; see the warning above")
    return made[-1]


def push(files: Iterable[Path], entity: str, project: str) -> None:
    """`wandb sync`, a few files at a time; whether they arrived is for the caller to see."""
    from tqdm import tqdm

    folders = [str(path.parent.resolve()) for path in files]
    with tempfile.TemporaryDirectory() as scratch, tqdm(total=len(folders), unit="run", disable=None) as bar:
        environment = os.environ | {"WANDB_ERROR_REPORTING": "false", "WANDB_DIR": scratch}
        command = [sys.executable, "-m", "wandb", "sync", "-e", entity, "-p", project]
        for start in range(0, len(folders), CHUNK):
            part = folders[start : start + CHUNK]
            done = subprocess.run(
                [*command, "--include-synced", "--include-online", *part],
                cwd=scratch,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                print(done.stderr.strip()[-500:], file=sys.stderr)
            bar.update(len(part))
