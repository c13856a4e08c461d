"""Several cells at a time on this machine: `python run.py -m ... hydra.launcher.jobs=N`.

Each cell trains in a process of its own with its share of cores and GPUs. It saves a checkpoint and leaves when the
parent tells it to, or when the parent dies.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.sweep import live
from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support import mps
from lightning_module.support.disk import ROOT, Busy
from lightning_module.support.program import WARNING, start_program
from lightning_module.training.interruption import Interruption, leave_with_parent

REFRESH = 1.0
"""Seconds between two looks at the cells, where there is a terminal to show them on."""
LOG = "output.log"
"""What the process of a cell says, in its run folder."""


@dataclass(frozen=True)
class Share:
    """The part of the machine that one of several cells gets."""

    cpus: tuple[int, ...]
    gpus: tuple[str, ...]
    cells: int = 1
    """That share the GPUs."""


def shares(jobs: int, devices: int, cpus: Sequence[int], gpus: Sequence[str]) -> list[Share]:
    """Devices for `jobs` cells of `devices` processes each; they take turns where there are not enough.

    A GPU is shared rather than left out: small networks leave most of it idle.
    """
    each = max(1, len(cpus) // jobs)
    parts = []
    for job in range(jobs):
        first = job * each % len(cpus)
        own = [gpus[(job * devices + index) % len(gpus)] for index in range(devices)] if gpus else []
        parts.append(Share(tuple(cpus[first : first + each]), tuple(dict.fromkeys(own))))
    users = Counter(gpu for part in parts for gpu in part.gpus)
    return [replace(part, cells=max((users[gpu] for gpu in part.gpus), default=1)) for part in parts]


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def start(cell: Cell, run: Path, share: Share) -> subprocess.Popen[bytes]:
    """A process that trains one cell on its share; what it says goes to output.log in the run folder."""
    run.mkdir(parents=True, exist_ok=True)
    config = {**cell.config, "trainer": {**cell.config["trainer"], "progress": False}}
    path = run / "cell.json"
    replace(cell, config=config).write(path)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    if share.gpus:
        environment |= {"CUDA_VISIBLE_DEVICES": ",".join(share.gpus), mps.CELLS: str(share.cells)}
    command = [sys.executable, "-m", "ablations.sweep.pool"]
    with (run / LOG).open("ab") as log:
        return subprocess.Popen(
            [*command, str(path), ",".join(map(str, share.cpus)), str(os.getpid())],
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C comes to the parent, which tells the children once
        )


def run_pool(
    todo: Sequence[Cell], runs: Path, jobs: int, interruption: Interruption
) -> dict[str, record.Record]:
    """Train cells, `jobs` at a time, under a live table; the records of all that were started.

    When asked to stop it starts no more, tells the running ones, and waits until they have saved. Where several share
    a GPU NVIDIA's MPS is started for them, if the machine has it.
    """
    interruption.install()
    devices = max(int(cell.config["trainer"]["devices"]) for cell in todo)
    gpu = any(cell.config["trainer"]["accelerator"] != "cpu" for cell in todo)
    gpus = visible_gpus() if gpu else []
    serve = mps.serve if devices == 1 and jobs > len(gpus) else contextlib.nullcontext
    with serve(gpus) as gpus:
        return _run(todo, runs, shares(jobs, devices, sorted(os.sched_getaffinity(0)), gpus), interruption)


def _run(
    todo: Sequence[Cell], runs: Path, parts: Sequence[Share], interruption: Interruption
) -> dict[str, record.Record]:
    queue, running = list(todo), dict[int, tuple[Cell, subprocess.Popen[bytes]]]()
    over: dict[str, record.Record] = {}
    warnings = _Warnings()
    screen, told = live.Live(), False
    while running or (queue and not interruption):
        for slot in range(len(parts)):
            if slot not in running and queue and not interruption:
                cell = queue.pop(0)
                warnings.follow(runs / cell.identity / LOG)
                running[slot] = cell, start(cell, runs / cell.identity, parts[slot])
        if interruption and not told:
            told = True
            print("Stopping: the running cells save a checkpoint first.", flush=True)
            for _, process in running.values():
                process.terminate()
        ended = {slot for slot, (_, process) in running.items() if process.poll() is not None}
        if said := warnings.new():
            screen.clear()
            print(*said, sep="\n", file=sys.stderr)
        for slot, (cell, _) in list(running.items()):
            if slot in ended:
                del running[slot]
                over[cell.identity] = record.read(runs / cell.identity)
                if not screen.terminal:
                    print(f"[{len(over)}/{len(todo)}] {cell.name}: {over[cell.identity].state}", flush=True)
        if screen.terminal:
            going = {cell.identity for cell, _ in running.values()}
            screen.show(live.table([_status(cell, runs, going, over.get(cell.identity)) for cell in todo]))
        time.sleep(REFRESH if screen.terminal else 0.1)
    return over


class _Warnings:
    """What the processes of cells warn of in their logs, for the terminal of the one who started them."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}
        self._told: set[str] = set()

    def follow(self, log: Path) -> None:
        """Look at what is added to this log from now on."""
        self._read[log] = log.stat().st_size if log.exists() else 0

    def new(self) -> list[str]:
        """The lines that came since it was last asked; none twice, though several cells say it."""
        lines: list[str] = []
        for log, start in self._read.items():
            with contextlib.suppress(OSError), log.open("rb") as file:  # somebody took the log away
                file.seek(start)
                whole, newline, _ = file.read().rpartition(b"\n")
                self._read[log] = start + len(whole + newline)
                lines += whole.decode("utf-8", "replace").splitlines()
        fresh = [line for line in dict.fromkeys(lines) if line.startswith(WARNING) and line not in self._told]
        self._told.update(fresh)
        return fresh


def _status(cell: Cell, runs: Path, going: set[str], ended: record.Record | None) -> live.CellStatus:
    known = ended or record.read(runs / cell.identity)
    state = str(known.state) if ended else "running" if cell.identity in going else "queued"
    log = runs / cell.identity / LOG if state == "failed" else None
    return live.CellStatus(
        cell.identity, cell.name, state, str(known.status.get("error", "")), known, log=log
    )


def train_one(cell: Cell, interruption: Interruption) -> None:
    """Train a cell in this process; a cell that must be left alone is, with the reason on standard output."""
    from lightning_module import train  # Lightning: only when there is something to train

    try:
        interruption.install()
        train.run(cell, interruption)
    except (Busy, record.RecordError) as error:
        print(f"  {error}")


def main(path: str, cpus: str, parent: str) -> None:
    """In the process of a cell: train the cell in this file on these cores."""
    start_program()
    interruption = Interruption()
    interruption.install()
    leave_with_parent(int(parent))  # this cell saves; the same command then goes on from there
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    train_one(Cell.read(Path(path)), interruption)
    sys.exit(interruption.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
