"""What runs inside a SLURM job: `run` is one rank of one cell, `after` decides when the ranks have ended.

A rank never asks SLURM for anything: it trains, saves when told to stop, and leaves. `after` runs once, in
the batch script, when no rank is left, so nothing races with it. It reads the record, which alone says if
a cell is finished, and is the only place that requeues a job or fails a cell for what happened around it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_module import record
from lightning_module.interruption import Interruption
from slurm import cluster, store
from slurm.store import Attempt
from slurm.verdict import Evidence, judge, signature

if TYPE_CHECKING:
    from ablations.cell import Cell

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
OOM = re.compile(rb"oom[-_ ]kill|exceeded .*memory limit", re.IGNORECASE)
"""What slurmstepd writes when it ends a job for its memory."""

PATIENCE = 900.0
"""Seconds to wait for an earlier attempt that still runs on a node which SLURM has lost."""


class NodeFault(Exception):
    """This node cannot train the cell; another one may."""


class Fenced(Interruption):
    """Also asks to stop when the run folder was handed to a later attempt.

    After a node was lost to SLURM its processes may still train; the requeued job must not run beside them.
    """

    def __init__(self, run: Path, attempt: Attempt) -> None:
        super().__init__(SIGNALS)
        self._run, self._attempt, self._looked = run, attempt, time.monotonic()

    def __bool__(self) -> bool:
        if self.received is None and time.monotonic() > self._looked + 2:
            self._looked = time.monotonic()
            if not self._attempt.same(store.owner(self._run)):
                self.received = signal.SIGTERM
        return super().__bool__()


def main(arguments: list[str], received: list[int]) -> int:
    """`run ARRAY` or `after ARRAY CODE`; received: signals that came since the process started."""
    folder = Path(arguments[1])
    index = int(os.environ["SLURM_ARRAY_TASK_ID"])
    cell = store.read_cell(folder / "cells" / f"{index}.json")
    run_folder = folder.parent.parent / cell.identity
    if arguments[0] == "run":
        return run(cell, run_folder, received)
    return after(cell, run_folder, folder, index, int(arguments[2]))


def environment(cell: Cell) -> None:
    """Variables that PyTorch, Lightning and their libraries read; addresses and interfaces set by the user stay."""
    wanted, there = cell.config["trainer"]["devices"], int(os.environ.get("SLURM_NTASKS_PER_NODE", 1))
    nodes, given = cell.config["trainer"]["nodes"], int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
    if (wanted, nodes) != (there, given):
        raise RuntimeError(f"the cell wants {nodes} nodes x {wanted} tasks, the job has {given} x {there}")
    # Whatever the login shell says: many sites set it to 1 there, and jobs inherit it.
    os.environ["OMP_NUM_THREADS"] = os.environ.get("SLURM_CPUS_PER_TASK", "1")
    # Lightning's own choice, 15000 + the last four digits, meets other jobs of a busy node.
    os.environ["MASTER_PORT"] = str(12000 + int(os.environ["SLURM_JOB_ID"]) % 20000)
    if given == 1:
        # A host name need not resolve on its own node.
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        return
    first = re.sub(r"\[(\w+)[^\]]*\]", r"\1", os.environ["SLURM_JOB_NODELIST"]).split(",")[0]
    os.environ.setdefault("MASTER_ADDR", first)
    try:
        socket.getaddrinfo(os.environ["MASTER_ADDR"], None)
    except OSError as error:
        raise NodeFault(
            f"{socket.gethostname()} cannot resolve {os.environ['MASTER_ADDR']} ({error})"
        ) from error


def progress(run_folder: Path) -> int:
    """The last optimizer step that the record knows to be done."""
    found = record.read(run_folder)
    steps = [line["step"] for line in (*found.attempts, *found.epochs)]
    return max(steps, default=0)


def take(run_folder: Path, attempt: Attempt) -> bool:
    """Make the run folder this attempt's, on rank 0; False if another job has it."""
    run_folder.mkdir(parents=True, exist_ok=True)
    before = store.owner(run_folder)
    if record.is_locked(run_folder) and (before is None or before.job != attempt.job):
        return False
    store.write_owner(run_folder, attempt)
    end = time.monotonic() + PATIENCE
    while record.is_locked(run_folder):
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    for stale in run_folder.glob("error-*.txt"):
        stale.unlink()
    store.note(
        run_folder, "start", attempt, step=progress(run_folder), nodes=os.environ["SLURM_JOB_NODELIST"]
    )
    store.write_owner(run_folder, Attempt(attempt.job, attempt.restart, ready=True))
    return True


def await_rank_0(run_folder: Path, attempt: Attempt) -> None:
    """On the other ranks: wait until the folder is free; before, its checkpoint may still be replaced."""
    end = time.monotonic() + PATIENCE + 60
    while not (attempt.same(now := store.owner(run_folder)) and now and now.ready):
        if time.monotonic() > end:
            raise NodeFault(f"{socket.gethostname()} does not see what rank 0 writes to {run_folder}")
        time.sleep(0.2)


def run(cell: Cell, run_folder: Path, received: list[int]) -> int:
    """Train as one rank. 0: finished, diverged or interrupted; 1: an error, which its file tells."""
    attempt, rank = Attempt.here(), int(os.environ["SLURM_PROCID"])
    try:
        environment(cell)
        if rank == 0 and not take(run_folder, attempt):
            store.note(run_folder, "busy", attempt)
            print(f"{cell.name}: {run_folder} is in use by another process; this job leaves it to that one")
            return 1  # ends the other ranks
        if rank:
            await_rank_0(run_folder, attempt)
        if record.read(run_folder).state in record.FINAL:
            return 0  # by an earlier attempt that SLURM had lost sight of
        interruption = Fenced(run_folder, attempt)
        interruption.install()
        if received:
            interruption.received = signal.Signals(received[0])
        _train(cell, interruption)
    except Exception:
        run_folder.mkdir(parents=True, exist_ok=True)
        traceback.print_exc()
        path = run_folder / f"error-{rank}.txt"
        if not path.exists():
            path.write_text(traceback.format_exc())
        return 1
    return 1 if rank == 0 and record.read(run_folder).state == "failed" else 0


def _train(cell: Cell, interruption: Interruption) -> None:
    import torch
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    from lightning_module.train import fit

    if cell.config["trainer"]["accelerator"] == "gpu" and not torch.cuda.is_available():
        raise NodeFault(
            f"{socket.gethostname()} has no GPU that PyTorch {torch.__version__} can use "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')})"
        )
    fit(cell, interruption, SLURMEnvironment(auto_requeue=False))


def after(cell: Cell, run_folder: Path, folder: Path, index: int, exit_code: int) -> int:
    """Decide what becomes of the job; 0 if the cell has its result, 1 if it failed."""
    attempt, array = Attempt.here(), store.read_array(folder)
    found = record.read(run_folder)
    errors = {int(path.stem.split("-")[1]): path.read_text() for path in run_folder.glob("error-*.txt")}
    history = store.history(run_folder)
    # A failure from before this attempt is no verdict on it.
    starts = [line["time"] for line in history if line["event"] == "start" and attempt.same(_of(line))]
    ours = found.state != "failed" or (starts and found.status["time"] >= starts[-1])
    state = found.state if ours else "killed"
    if state == "failed":
        errors[0] = str(found.status.get("traceback") or found.status.get("error", ""))
    job = cluster.job_now(attempt.job)
    if store.cancelled(history, array.name):
        job["JobState"] = "CANCELLED"
    log = store.log_file(folder.parent.parent, folder.name, index)
    verdict = judge(
        Evidence(
            state=state,
            errors=errors,
            mine=not any(line["event"] == "busy" and attempt.same(_of(line)) for line in history),
            job=job,
            restart=attempt.restart,
            history=history,
            exit_code=exit_code,
            oom=exit_code != 0 and log is not None and OOM.search(log.read_bytes()[-4000:]) is not None,
            max_requeues=array.options["max_requeues"],
        )
    )
    if verdict.action == "elsewhere" and not fits_elsewhere(cell, job, unfit_nodes(history)):
        verdict = replace(
            verdict, action="fail", why=f"{verdict.why}; the partition has no other node to try"
        )
    print(f"slurm: {cell.name}: {verdict.action}: {verdict.why}", flush=True)
    run_folder.mkdir(parents=True, exist_ok=True)
    store.note(run_folder, "end", attempt, action=verdict.action, why=verdict.why, code=exit_code)
    if verdict.action == "fail":
        if found.state != "damaged" and found.status.get("traceback") != verdict.traceback:
            _write_failure(cell, run_folder, verdict.why, verdict.traceback, verdict.rank)
        _stop_the_rest(folder, array, verdict.traceback)
    elif verdict.action == "requeue":
        return requeue(run_folder, attempt, array.name, [])
    elif verdict.action == "elsewhere":
        return requeue(run_folder, attempt, array.name, unfit_nodes(store.history(run_folder)))
    # A job that could not ask whether it may go on has no result, and SLURM must not call it completed.
    return 1 if verdict.action == "fail" or (verdict.action == "leave" and not job) else 0


def _of(line: Mapping[str, Any]) -> Attempt:
    return Attempt(line["job"], line["restart"])


def _write_failure(cell: Cell, run_folder: Path, why: str, text: str, rank: int) -> None:
    """The record of a cell whose rank 0 could not write what happened, or wrote a consequence of it."""
    with record.Lock(run_folder):
        writer = record.Writer(run_folder, cell)
        writer.finish("failed", progress(run_folder), error=why, traceback=text, rank=rank)
        writer.close()


def fits_elsewhere(cell: Cell, job: Mapping[str, str], unfit: Sequence[str]) -> bool:
    """Whether the partition has nodes enough that this cell has not failed on; where SLURM is silent, yes.

    A job that excludes too many of its nodes would be queued for ever.
    """
    excluded = job.get("ExcNodeList", "(null)")
    avoid = [*unfit, os.environ["SLURM_JOB_NODELIST"], *([] if excluded == "(null)" else [excluded])]
    try:
        return cluster.spare_nodes(job["Partition"], avoid) >= int(cell.config["trainer"]["nodes"])
    except cluster.SlurmError:
        return True


def unfit_nodes(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Nodes on which this cell could not be trained."""
    found, nodes = [], ""
    for line in history:
        if line["event"] == "start":
            nodes = line["nodes"]
        elif line.get("action") == "elsewhere" and nodes:
            found.append(nodes)
    return list(dict.fromkeys(found))


def requeue(run_folder: Path, attempt: Attempt, array: str, avoid: Sequence[str]) -> int:
    """Queue this job again, on other nodes than `avoid`; SLURM ends this process soon after."""

    def runs() -> bool:  # while the controller was silent, the job may have been cancelled
        return cluster.job_now(attempt.job).get("JobState") == "RUNNING"

    try:
        cluster.persist("scontrol", "requeue", attempt.job, wanted=runs)
        if store.cancelled(store.history(run_folder), array):
            # Since it was judged; the request came after the cancellation and has brought the job back.
            cluster.persist("scancel", attempt.job)
            return 0
    except cluster.SlurmError as error:
        print(
            f"slurm: the job cannot be requeued ({error}); run the sweep's command again to go on", flush=True
        )
        return 1
    if avoid:
        before = cluster.job_now(attempt.job).get("ExcNodeList", "(null)")
        nodes = ",".join(dict.fromkeys([*([] if before == "(null)" else [before]), *avoid]))
        try:
            # Only now, because a running job cannot be changed; SLURM holds it back for two minutes.
            cluster.call("scontrol", "update", f"jobid={attempt.job}", f"ExcNodeList={nodes}")
        except cluster.SlurmError as error:
            print(f"slurm: {nodes} cannot be excluded ({error})", flush=True)
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
            store.write_json(runs / store.FOLDER / other.name / "stopped.json", {"why": why})
        names = ",".join(other.name for other in siblings)
        try:
            cluster.call("scancel", "--state=PENDING", f"--user={cluster.user()}", f"--name={names}")
        except cluster.SlurmError as error:
            print(f"slurm: they could not be cancelled ({error})", flush=True)
