"""`python -m reports sync ENTITY/PROJECT`: bring W&B to what the records say, and check that it got there.

What is pushed is what the audit finds missing, stale, different or unreadable, never what a marker file says: so it
can be stopped and run again, and a run that is already right costs nothing. The newest W&B file of a run is
pushed if it alone holds what the record holds; otherwise a new one is made from the record. Then the runs are read
back from the server and compared, for some seconds again and again: it may take a while to show what it was given.
A run that was deleted on W&B is left so, unless --restore-deleted: W&B never takes its id again, so it gets another.
Exit code 0: all there; 1: some are not, or their records are damaged; 2: bad input.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.command_line import RUNS, Parser, command, folder
from lightning_module.support.errors import ConfigError, one_line
from lightning_module.support.text import visible
from lightning_module.tracking.patience import said
from lightning_module.tracking.wandb_environment import PROJECT
from lightning_module.tracking.wandb_run import Tracker
from lightning_module.tracking.wandb_server import Server, ServerError, run_ids
from reports.choose import sweeps_in
from reports.compare import MENDED_BY_SYNC, Finding, by_run, compare, undeclared
from reports.push import Upload, installed, push
from reports.sources import Frames, records, wandb_api, wandb_offline
from reports.sources._wandb_client import ANSWER, NotThere, place

PATIENCE = 30.0
"""Seconds until what was pushed and is not shown counts as not arrived."""
REQUESTS = 8
"""Requests at the same time."""


def main(arguments: Sequence[str]) -> int:
    """Push what the audit finds, then audit again; the exit code. arguments: those after `sync`."""
    p = Parser(command("sync"), description="Pushes runs to W&B and checks them there.")
    p.add_argument("where", metavar="ENTITY/PROJECT")
    p.add_argument("--runs", type=folder, default=RUNS, metavar="FOLDER", help="default: runs")
    p.add_argument("--dry-run", action="store_true", help="only say what would be pushed")
    p.add_argument(
        "--restore-deleted", action="store_true", help="push what was deleted on W&B again, under a new id"
    )
    options = p.parse_args(arguments)
    where, runs, restore = options.where, options.runs, options.restore_deleted
    place(where, "")
    local = records.load(str(runs), None)
    findings = _findings(local, where, runs)
    for finding in findings:
        print(finding)
    to_push = [finding for finding in findings if finding.kind in MENDED_BY_SYNC]
    if running := int((local.runs["state"] == "running").sum()):
        print(f"{running} still running: left for later")
    if damaged := len(findings) - len(to_push):
        print(f"{damaged} damaged: cannot be pushed; what to do says:  {command('audit', where, runs=runs)}")
    if options.dry_run or not to_push:
        print(
            f"{len(to_push)} of {len(local.runs)} runs to push" if to_push else f"wandb:{where} has all of it"
        )
        return 0 if options.dry_run or not damaged else 1
    version = installed()
    try:
        server = Server()
        ids, deleted = _ids(to_push, server, where, restore)
    except ServerError as error:
        print(f"nothing was pushed: {one_line(error)}")
        return 1
    for finding in deleted:
        print(finding)
    if deleted and not restore:
        again = command("sync", where, "--restore-deleted", runs=runs)
        print(f"{len(deleted)} deleted on W&B, and left so; if that was a mistake:  {again}")
    uploads, trouble = _uploads(local, runs, ids, version)
    trouble |= push(uploads, server, *place(where))
    left = _not_arrived(local, where, runs, set(ids))
    for finding in left:
        why = trouble.get(ids[finding.identity])
        more = f"; wandb sync: {why}" if why else _replaceable(finding, where, runs)
        print(visible(f"did not arrive: {finding.identity}  {finding.name}: {finding.text}{more}"))
    print(f"{len(ids) - len(left)} of {len(to_push)} runs pushed to wandb:{where} and checked there")
    return 1 if left or damaged or deleted else 0


def _findings(
    local: Frames, where: str, runs: Path, identities: Iterable[str] | None = None
) -> list[Finding]:
    """What a push would mend, one finding for a run, and damaged records; a project that is not there yet lacks all."""
    try:
        other = wandb_api.load_fresh(where, identities)
    except NotThere:
        other = Frames(local.runs.iloc[:0], local.history.iloc[:0])
    findings = [finding for finding in compare(local, other) if finding.kind in (*MENDED_BY_SYNC, "damaged")]
    by_identity = {each.identity: each for each in undeclared(local, other, sweeps_in(runs))}
    return [*(by_identity | {each.identity: each for each in findings}).values()]


def _ids(
    to_push: Sequence[Finding], server: Server, where: str, restore: bool
) -> tuple[dict[str, str], list[Finding]]:
    """identity -> id of the run that it is pushed to, and those that were deleted on W&B and have none.

    A run that is there keeps its id. For the others the server is asked to make one: nothing else tells what was
    deleted, and wandb would try for ever. ServerError if it makes none for another reason.
    """
    entity, project = place(where)

    def run_id(finding: Finding) -> str | None:
        if finding.url:
            return finding.url.rsplit("/", 1)[1]
        ids = run_ids(finding.identity)
        may_be = ids if restore else ids[:1]
        free = (one for one in may_be if not server.was_deleted(entity, project, one, patience=ANSWER))
        return next(free, None)

    with ThreadPoolExecutor(REQUESTS) as pool:
        found = dict(zip((finding.identity for finding in to_push), pool.map(run_id, to_push), strict=True))
    gone = [finding for finding in to_push if found[finding.identity] is None]
    if restore:
        numbers = ", ".join(run_ids("")[1:])
        text = f"deleted on wandb:{where}, and as {numbers} as well; undelete one of them there"
    else:
        text = f"somebody deleted it on wandb:{where}, which never takes its id again"
    return (
        {identity: one for identity, one in found.items() if one is not None},
        [replace(finding, kind="deleted", text=text) for finding in gone],
    )


def _not_arrived(local: Frames, where: str, runs: Path, pushed: set[str]) -> list[Finding]:
    """What the server still has otherwise of the pushed runs, at the latest after PATIENCE seconds."""
    deadline, pause = time.monotonic() + PATIENCE, 1.0
    with said("W&B to show what was pushed", PATIENCE):
        while True:
            try:
                left = [one for one in _findings(local, where, runs, pushed) if one.identity in pushed]
            except ConfigError as error:
                names = by_run(local)
                text = f"not known whether it did, {one_line(error)}"
                return [Finding("missing", one, names[one]["name"], text) for one in sorted(pushed)]
            if not left or time.monotonic() >= deadline:
                return left
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause *= 2


def _replaceable(finding: Finding, where: str, runs: Path) -> str:
    """What to do about a run that a push did not change."""
    if not finding.url:
        return ""
    restore = command("sync", where, "--restore-deleted", runs=runs)
    return f"; if it stays so, a push cannot replace it: delete {finding.url} on W&B, then  {restore}"


def _uploads(
    local: Frames, runs: Path, ids: Mapping[str, str], version: str
) -> tuple[list[Upload], dict[str, str]]:
    """For each run the newest W&B file, if that alone holds what the record holds, or one made of the record.

    Files of a wandb newer than this version, which it may not read, are made again too. Also: id of a run for which
    that cannot be done -> why.
    """
    alone = wandb_offline.load_newest(str(runs), ids)
    lacking = [*compare(local, alone), *undeclared(local, alone, sweeps_in(runs))]
    wrong = {finding.identity for finding in lacking}
    uploads, trouble = [], {}
    for identity, run_id in ids.items():
        try:
            newest = wandb_offline.files(runs / identity)[-1:]
            usable = identity not in wrong and newest and _made_by(newest[0]) <= _minor(version)
            uploads.append(Upload(newest[0] if usable else rebuild(runs / identity), run_id))
        except ConfigError as error:
            trouble[run_id] = one_line(error)
    return uploads, trouble


def _made_by(path: Path) -> tuple[int, ...]:
    """The version of wandb in the first record of a file, "0.31.0+15f8cbc5..."; () if there is none."""
    with path.open("rb") as file:
        found = re.search(rb"(\d+\.\d+)\.\d+\w*\+[0-9a-f]{8}", file.read(256))
    return _minor(found[1].decode()) if found else ()


def _minor(version: str) -> tuple[int, ...]:
    """0.31.0 -> (0, 31): all of a minor version can read its files."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


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
    project, study = shown.get("project") or PROJECT, shown.get("run_group") or None
    tracker = Tracker.open("offline", cell, folder, project=project, study=study)
    status = {key: told.status[key] for key in ("reason", "error") if key in told.status}
    tracker.finish(told.state, status)
    made = [path for path in wandb_offline.files(folder) if path not in before]
    if not made:
        raise ConfigError(f"no W&B file could be written in {folder}; see the warning above")
    return made[-1]
