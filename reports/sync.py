"""`python -m reports sync ENTITY/PROJECT`: bring W&B to what the records say, and check that it got there.

What is pushed is what the audit finds missing, stale or different, never what a marker file says: so it can
be stopped and run again, and a run that is already right costs nothing. The newest W&B file of a run is
pushed if it alone holds what the record holds; otherwise a new one is made from the record. The exit code of
`wandb sync` says nothing, so the runs are read back from the server and compared, for some seconds again and
again: a server may take a while to show what it was given. Exit code 0: all there; 1: some are not, or their
records are damaged; 2: bad input.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.command_line import RUNS, Parser, command, folder
from lightning_module.support.errors import ConfigError
from lightning_module.support.text import visible
from lightning_module.tracking.wandb_run import Tracker
from reports import audit
from reports.sources import Frames, records, wandb_api, wandb_offline
from reports.sources._wandb_client import NotThere, place

CHUNK = 40
"""Files per call of `wandb sync`."""
PATIENCE = 30.0
"""Seconds until what was pushed and is not shown counts as not arrived."""


def main(arguments: Sequence[str]) -> int:
    """Push what the audit finds, then audit again; the exit code. arguments: those after `sync`."""
    p = Parser(command("sync"), description="Pushes runs to W&B and checks them there.")
    p.add_argument("where", metavar="ENTITY/PROJECT")
    p.add_argument("--runs", type=folder, default=RUNS, metavar="FOLDER", help="default: runs")
    p.add_argument("--dry-run", action="store_true", help="only say what would be pushed")
    options = p.parse_args(arguments)
    where, runs = options.where, options.runs
    entity, project = place(where)
    local = records.load(str(runs), None)
    findings = _findings(local, where)
    for finding in findings:
        print(finding)
    to_push = [finding.identity for finding in findings if finding.kind in audit.MENDED_BY_SYNC]
    running = int((local.runs["state"] == "running").sum())
    if running:
        print(f"{running} still running: left for later")
    damaged = len(findings) - len(to_push)
    if damaged:
        print(f"{damaged} damaged: cannot be pushed; what to do says:  {command('audit', where, runs=runs)}")
    if options.dry_run or not to_push:
        print(
            f"{len(to_push)} of {len(local.runs)} runs to push" if to_push else f"wandb:{where} has all of it"
        )
        return 0 if options.dry_run or not damaged else 1
    push(_files(local, runs, to_push), entity, project)
    left = _not_arrived(local, where, set(to_push))
    for finding in left:
        print(visible(f"did not arrive: {finding.identity}  {finding.name}: {finding.text}"))
    print(f"{len(to_push) - len(left)} of {len(to_push)} runs pushed to wandb:{where} and checked there")
    return 1 if left or damaged else 0


def _findings(local: Frames, where: str) -> list[audit.Finding]:
    """What a push would mend, and damaged records; a project that is not there yet lacks everything."""
    try:
        other = wandb_api.load_fresh(where)
    except NotThere:
        other = Frames(local.runs.iloc[:0], local.history.iloc[:0])
    kinds = (*audit.MENDED_BY_SYNC, "damaged")
    return [finding for finding in audit.compare(local, other) if finding.kind in kinds]


def _not_arrived(local: Frames, where: str, pushed: set[str]) -> list[audit.Finding]:
    """What the server still has otherwise of the pushed runs, at the latest after PATIENCE seconds."""
    deadline, pause = time.monotonic() + PATIENCE, 1.0
    while True:
        left = [finding for finding in _findings(local, where) if finding.identity in pushed]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause *= 2


def _files(local: Frames, runs: Path, names: Sequence[str]) -> list[Path]:
    """For each run the newest W&B file, if that alone holds what the record holds, or one made of the record."""
    alone = wandb_offline.load_newest(str(runs), names)
    wrong = {finding.identity for finding in audit.compare(local, alone)}
    return [rebuild(runs / name) if name in wrong else wandb_offline.files(runs / name)[-1] for name in names]


def rebuild(folder: Path) -> Path:
    """A new W&B file in a run folder, made from its record; ConfigError if that cannot be done.

    Group and project, of which the record says nothing, are those of the newest file if there is one.
    """
    told = record.read(folder)
    if told.damage or not told.cell:
        raise ConfigError(told.damage or f"{folder} holds no record; nothing can be made from it")
    cell = Cell.from_json(told.cell)
    if cell.identity != told.cell["identity"]:
        raise ConfigError(f"the record in {folder} does not belong to its cell; run the cell again")
    before = wandb_offline.files(folder)
    shown = wandb_offline.read_files(before[-1:]).about
    project, study = shown.get("project") or "residual-ablations", shown.get("run_group") or None
    tracker = Tracker.open("offline", cell, folder, project=project, study=study)
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
        program = [sys.executable, "-m", "wandb", "sync", "-e", entity, "-p", project]
        for start in range(0, len(folders), CHUNK):
            part = folders[start : start + CHUNK]
            done = subprocess.run(
                [*program, "--include-synced", "--include-online", *part],
                cwd=scratch,
                env=environment,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
            if done.returncode:
                print(done.stderr.strip()[-500:], file=sys.stderr)
            bar.update(len(part))
