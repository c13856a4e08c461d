"""What runs inside a SLURM job: one rank of one cell, or one of several cells that share a device.

A rank never asks SLURM for anything: it trains, saves when told to stop, and leaves. When all have left,
slurm.after decides.
"""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from pathlib import Path

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.processes import leave_foreign_ranks
from lightning_module.support import mps
from lightning_module.training.interruption import Interruption
from slurm import cluster, store
from slurm.store import Attempt
from slurm.verdict import FAILED
from slurm.watchdog import Watchdog

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
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
        self.looks = 0

    def __bool__(self) -> bool:
        self.looks += 1
        if self.received is None and time.monotonic() > self._looked + 2:
            self._looked = time.monotonic()
            if not self._attempt.same(store.owner(self._run)):
                self.received = signal.SIGTERM
        return super().__bool__()


def main(arguments: list[str], received: list[int]) -> int:
    """`run ARRAY`, `after ARRAY CODE` or `settle FOLDER`; received: signals that came since the process started."""
    folder = Path(arguments[1])
    if arguments[0] == "settle":
        from slurm.rounds import controller

        return controller(folder)
    element = int(os.environ["SLURM_ARRAY_TASK_ID"])
    if arguments[0] == "after":
        from slurm.after import after

        return FAILED if after(folder, element, int(arguments[2])) else 0
    array = store.read_array(folder)
    shared = array.cells_per_job > 1
    task = int(os.environ["SLURM_PROCID"]) if shared else 0
    if task >= len(array.members(element)):
        return 0  # the last element may have fewer cells than tasks
    if shared:
        os.environ[mps.CELLS] = str(len(array.members(element)))
    cell = Cell.read(folder / "cells" / f"{array.members(element)[task]}.json")
    return run(cell, folder.parent.parent / cell.identity, received, shared, array.options["signal_seconds"])


def environment(cell: Cell, shared: bool) -> None:
    """Variables that PyTorch, Lightning and their libraries read; addresses and interfaces set by the user stay."""
    leave_foreign_ranks("SLURM_")
    # Whatever the login shell says: many sites set it to 1 there, and jobs inherit it.
    os.environ["OMP_NUM_THREADS"] = os.environ.get("SLURM_CPUS_PER_TASK", "1")
    if shared:
        if devices := os.environ.get(mps.DEVICES):
            os.environ["CUDA_VISIBLE_DEVICES"] = devices  # srun has set it to numbers, which MPS counts anew
        return  # a world of its own
    wanted, there = cell.config["trainer"]["devices"], int(os.environ.get("SLURM_NTASKS_PER_NODE", 1))
    nodes, given = cell.config["trainer"]["nodes"], int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
    if (wanted, nodes) != (there, given):
        raise RuntimeError(f"the cell wants {nodes} nodes x {wanted} tasks, the job has {given} x {there}")
    # Lightning's own choice, 15000 + the last four digits, meets other jobs of a busy node.
    os.environ["MASTER_PORT"] = str(12000 + int(os.environ["SLURM_JOB_ID"]) % 20000)
    if given == 1:
        # A host name need not resolve on its own node.
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        return
    os.environ.setdefault("MASTER_ADDR", cluster.hostnames(os.environ["SLURM_JOB_NODELIST"])[0])
    try:
        socket.getaddrinfo(os.environ["MASTER_ADDR"], None)
    except OSError as error:
        raise NodeFault(
            f"{socket.gethostname()} cannot resolve {os.environ['MASTER_ADDR']} ({error})"
        ) from error


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
    about = {"step": store.progress(run_folder), "saved": store.saved(run_folder)}
    store.note(run_folder, "start", attempt, **about, nodes=os.environ["SLURM_JOB_NODELIST"])
    store.write_owner(run_folder, Attempt(attempt.job, attempt.restart, ready=True))
    return True


def await_rank_0(run_folder: Path, attempt: Attempt) -> None:
    """On the other ranks: wait until the folder is free; before, its checkpoint may still be replaced."""
    end = time.monotonic() + PATIENCE + 60
    while not (attempt.same(now := store.owner(run_folder)) and now and now.ready):
        if time.monotonic() > end:
            raise NodeFault(f"{socket.gethostname()} does not see what rank 0 writes to {run_folder}")
        time.sleep(0.2)


def run(cell: Cell, run_folder: Path, received: list[int], shared: bool, signal_seconds: int) -> int:
    """Train as one rank. 0: finished, diverged or interrupted; 1: an error, which its file tells.

    shared: the job's other tasks are not ranks of this cell but cells of their own.
    """
    attempt, rank = Attempt.here(), 0 if shared else int(os.environ["SLURM_PROCID"])
    if store.settled(store.of_job(store.history(run_folder), attempt.job)):
        print(f"{cell.name} failed; this job goes on for the other cells that share it", flush=True)
        return 1
    try:
        environment(cell, shared)
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
        warned, tells = signal.SIGUSR2 in received, rank == 0
        with Watchdog(
            lambda: interruption.looks, signal_seconds, run_folder, attempt, warned=warned, tells=tells
        ):
            _train(cell, interruption, shared)
    except Exception:
        run_folder.mkdir(parents=True, exist_ok=True)
        traceback.print_exc()
        path = run_folder / f"error-{rank}.txt"
        path.write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
        return 1
    return 1 if rank == 0 and record.read(run_folder).state == "failed" else 0


def _train(cell: Cell, interruption: Interruption, shared: bool) -> None:
    import torch
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    from lightning_module.fit import fit

    if cell.config["trainer"]["accelerator"] == "gpu" and not torch.cuda.is_available():
        raise NodeFault(
            f"{socket.gethostname()} has no GPU that PyTorch {torch.__version__} can use "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')})"
        )
    fit(cell, interruption, None if shared else SLURMEnvironment(auto_requeue=False))
