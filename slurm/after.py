"""What becomes of a job when its tasks have ended.

It runs once, in the batch script, when no rank is left, so nothing races with it. It reads the record, which
alone says if a cell is finished, and is the only place that requeues a job or fails a cell for what happened
around it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.disk import Lock, write_json
from lightning_module.support.errors import one_line
from slurm import cluster, store, waiting
from slurm.store import Attempt
from slurm.undecided import NO_SPACE
from slurm.verdict import MEMORY_HINT, Decision, Evidence, decide_job, signature

PROBE = 1 << 20
"""Bytes that are written to find out if a disk is full."""

OOM = re.compile(rb"oom[-_ ]kill|exceeded .*memory limit", re.IGNORECASE)
"""What slurmstepd writes when it ends a job for its memory."""


def after(folder: Path, element: int, exit_code: int) -> int:
    """Decide what becomes of a job and its cells; 0 if they have their results, 1 if one failed.

    folder: of the array. exit_code: of srun.
    """
    array, attempt = store.read_array(folder), Attempt.here()
    runs, job = folder.parent.parent, cluster.job_now(attempt.job)
    decisions, run_folders = [], []
    for index in array.members(element):
        cell = Cell.read(folder / "cells" / f"{index}.json")
        run_folders.append(runs / cell.identity)
        run_folders[-1].mkdir(parents=True, exist_ok=True)
        decisions.append(_settle_cell(cell, run_folders[-1], array, index, job, exit_code))
    actions = {decision.action for decision in decisions}
    for decision in decisions:
        if decision.action == "fail":
            _stop_the_rest(folder, array, decision.traceback)
    if actions & {"requeue", "elsewhere"}:
        # Also those of earlier starts: SLURM may not have been told, or have forgotten.
        histories = (store.of_job(store.history(run), attempt.job) for run in run_folders)
        avoid = [node for history in histories for node in store.unfit_nodes(history)]
        return requeue(run_folders, attempt, array.name, _excluded(job, avoid) if avoid else "")
    for run, decision in zip(run_folders, decisions, strict=True):
        if decision.action == "fail":
            with contextlib.suppress(OSError):
                store.note(run, "over", attempt)  # who requeues the job now wants the cell tried again
    if job.get("JobState") == "RUNNING":
        _feed(folder, attempt.job)
    # A job that could not ask whether it may go on has no result, and SLURM must not call it completed.
    return 1 if "fail" in actions or ("leave" in actions and not job) else 0


def _feed(folder: Path, job: str) -> None:
    """Submit cells that wait for the place of this job, if there are any; whatever happens, its own are decided."""
    try:
        if waiting.read_all(folder.parent.parent):
            from slurm.feed import feed  # with submitit, which the others do without

            feed(folder, job)
    except Exception as error:
        print(f"slurm: cells that wait could not be submitted ({one_line(error)})", flush=True)


def _settle_cell(
    cell: Cell, run_folder: Path, array: store.Array, index: int, job: Mapping[str, str], exit_code: int
) -> Decision:
    """Decide on one cell, and note it in its history and, if it failed, in its record."""
    attempt, known = Attempt.here(), record.read(run_folder)
    whole = store.history(run_folder)
    history, saved = store.of_job(whole, attempt.job), store.saved(run_folder)
    if store.settled(history):
        return Decision("fail", "it failed before the job was started again for another cell")
    submitted = (run_folder.parent / store.FOLDER / array.name / "array.json").stat().st_mtime
    errors = {
        int(path.stem.split("-")[1]): path.read_text(encoding="utf-8", errors="replace")
        for path in run_folder.glob("error-*.txt")
        if path.stat().st_mtime >= submitted  # else of a run elsewhere, or of a job that was killed
    }
    lines = [line for line in history if line["restart"] == attempt.restart]
    # A failure from before this attempt says nothing of it.
    starts = [line["time"] for line in lines if line["event"] == "start"]
    ours = known.state != "failed" or (starts and known.status.get("time", 0) >= starts[-1])
    state = known.state if ours else "killed"
    if state == "failed":
        errors[0] = str(known.status.get("traceback") or known.status.get("error", ""))
    full = exit_code != 0 and _is_full(run_folder)
    cancelled = {"JobState": "CANCELLED"} if store.cancelled(whole, array.name) else {}
    element, task = array.element(index)
    log = store.log_file(run_folder.parent, array, index)
    batch_log = store.log_file(run_folder.parent, array, array.members(element)[0])
    decision = decide_job(
        Evidence(
            state=state,
            errors=errors,
            nodes=_nodes_by_rank(cell) if errors else [],
            mine=not any(line["event"] == "busy" for line in lines),
            job={**job, **cancelled},
            restart=attempt.restart,
            history=history,
            saved=saved,
            unfit=store.unfit_nodes(history),
            exit_code=exit_code,
            oom=exit_code != 0 and OOM.search(store.end_of(log)) is not None,
            max_requeues=array.options["max_requeues"],
            started=any(line["event"] == "start" for line in lines),
            log=store.end_of(batch_log),
            log_file=batch_log,
            late=any(line["event"] == "late" for line in lines),
            full=str(run_folder.parent) if full else "",
        )
    )
    unfit = [*store.unfit_nodes(history), decision.unfit]
    if decision.unfit and not fits_elsewhere(run_folder.parent / store.FOLDER / array.name, job, unfit):
        decision = replace(
            decision, action="fail", why=f"{decision.why}; the job fits on no other node", unfit=""
        )
    said = f"slurm: {cell.name}: {decision.action}: {decision.why}"
    print(said, flush=True)
    if log and task:  # what is printed here goes to the log of the first task alone
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8", errors="replace") as file:
            file.write(said + "\n")
    told = {"saved": saved} | ({"unfit": decision.unfit} if decision.unfit else {})
    # Rank 0 wrote its own traceback, if it could; a hint, or another rank's, says more.
    text, why, rank = decision.traceback, decision.why, decision.rank
    written = ours and known.status.get("traceback") == text and why != MEMORY_HINT
    try:
        store.note(run_folder, "end", attempt, action=decision.action, why=why, code=exit_code, **told)
        if decision.action == "fail" and known.state != "damaged" and not written:
            with Lock(run_folder):
                writer = record.Writer(run_folder, cell)
                writer.finish("failed", store.progress(run_folder), error=why, traceback=text, rank=rank)
                writer.close()
        for error in run_folder.glob("error-*.txt"):  # the next attempt is not judged by them
            error.unlink()
    except (OSError, record.RecordError) as error:
        if not full:
            raise
        print(f"slurm: {error}", flush=True)
    if full:
        (run_folder.parent / store.FOLDER / array.name / f"{NO_SPACE}{element}").touch()
    return decision


def _is_full(folder: Path) -> bool:
    """Whether the disk takes nothing more; a checkpoint or a line of the record may have failed for it, unsaid."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


def _nodes_by_rank(cell: Cell) -> list[str]:
    """Host name of each rank: SLURM fills one node after the other."""
    hosts = cluster.hostnames(os.environ["SLURM_JOB_NODELIST"])
    return [host for host in hosts for _ in range(int(cell.config["trainer"]["devices"]))]


def fits_elsewhere(array: Path, job: Mapping[str, str], unfit: Sequence[str]) -> bool:
    """Whether SLURM would start this job without the nodes that it must avoid; it knows constraints and limits.

    A job that excludes every node that it could have would be queued for ever.
    """
    script = next(array.glob("*submission*.sh"))
    try:
        cluster.test_only(f"--exclude={_excluded(job, unfit)}", str(script))
    except cluster.SlurmError as error:
        return "node configuration is not available" not in str(error)
    return True


def _excluded(job: Mapping[str, str], unfit: Sequence[str]) -> str:
    """The nodes that the job avoids already and these, as SLURM takes them."""
    before = job.get("ExcNodeList", "(null)")
    return ",".join(dict.fromkeys([*([] if before == "(null)" else [before]), *filter(None, unfit)]))


def requeue(run_folders: Sequence[Path], attempt: Attempt, array: str, excluded: str) -> int:
    """Queue this job again, without the excluded nodes.

    SLURM then signals every process of the job and, some seconds later, kills it; the batch script ignores the
    signals for this process and what it calls.
    """

    def runs() -> bool:  # while the controller was silent, the job may have been cancelled
        return cluster.job_now(attempt.job).get("JobState") == "RUNNING"

    if cluster.job_now(attempt.job).get("JobState", "RUNNING") != "RUNNING":
        return 0  # cancelled since it was judged, and SLURM would bring it back
    try:
        cluster.persist("scontrol", "requeue", attempt.job, wanted=runs)
        if any(store.cancelled(store.history(run), array) for run in run_folders):
            # Since it was judged; the request came after the cancellation and has brought the job back.
            cluster.persist("scancel", attempt.job)
            return 0
    except cluster.SlurmError as error:
        print(
            f"slurm: the job cannot be requeued ({error}); run the sweep's command again to go on", flush=True
        )
        return 1
    if excluded:
        try:
            # SLURM refuses to change a running job ("no longer pending execution"); it holds a requeued one back
            # for two minutes.
            cluster.persist("scontrol", "update", f"jobid={attempt.job}", f"ExcNodeList={excluded}")
        except cluster.SlurmError as error:
            print(f"slurm: {excluded} cannot be excluded ({error})", flush=True)
    return 0


def _stop_the_rest(folder: Path, array: store.Array, text: str) -> None:
    """Cancel what is pending of the sweep when as many of its cells failed the same way as it allows."""
    if not text:
        return
    runs = folder.parent.parent
    siblings = [other for other in store.arrays(runs) if other.submission == array.submission]
    alike = []
    for cell in (cell for other in siblings for cell in other.cells):
        status: dict[str, Any] = dict(record.read(runs / cell["identity"]).status)
        if status.get("time", 0) > array.time and signature(status.get("traceback", "")) == signature(text):
            alike.append(cell["name"])
    if len(alike) >= array.options["stop_after"]:
        why = f"{len(alike)} cells failed in the same way, so those that had not started were cancelled"
        print(f"slurm: {why}", flush=True)
        for other in siblings:
            with contextlib.suppress(OSError):  # a full disk must not keep the jobs in the queue
                write_json(runs / store.FOLDER / other.name / "stopped.json", {"why": why})
        names = ",".join(other.name for other in siblings)
        try:
            cluster.call("scancel", "--state=PENDING", f"--user={os.getuid()}", f"--name={names}")
        except cluster.SlurmError as error:
            print(f"slurm: they could not be cancelled ({error})", flush=True)
