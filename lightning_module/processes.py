"""One cell in several processes of this machine, by torchrun."""

from __future__ import annotations

import logging
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.disk import Lock
from lightning_module.support.program import start_program
from lightning_module.training.interruption import Interruption, leave_with_parent

RANK_VARIABLES = re.compile(
    r"(LOCAL_|GLOBAL_|NODE_|GROUP_|ROLE_)?RANK|((LOCAL|GROUP|ROLE)_)?WORLD_SIZE|ROLE_NAME|SLURM_(PROCID|LOCALID|NODEID)"
    r"|JSM_NAMESPACE_(LOCAL_)?RANK|(TORCHELASTIC|TORCH_ELASTIC|PET|PL_TRAINER)_\w+"
)
"""What Lightning and torchrun take from the environment for which of several processes this is, and for options that
nobody typed (PL_TRAINER_FAST_DEV_RUN, PET_NNODES)."""


def leave_foreign_ranks(launcher: str = "none") -> None:
    """Forget what the environment says of ranks, here and for what is started from here.

    Containers and schedulers set such variables for programs of others; ours starts its ranks itself. launcher: how
    the names of those begin that count, because we know who set them.
    """
    for name in filter(RANK_VARIABLES.fullmatch, list(os.environ)):
        if not name.startswith(launcher):
            del os.environ[name]


def run_in_processes(
    cell: Cell, folder: Path, devices: int, threads: int, interruption: Interruption
) -> None:
    """Train with one process per device; if one dies or this one is asked to stop or ends, all end."""
    path = folder / "cell.json"
    cell.write(path)
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "LOGLEVEL": "ERROR",  # torchrun's own, which would warn of every signal that it passes on
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    for stale in folder.glob("error-*.txt"):
        stale.unlink()
    command = [sys.executable, "-m", __name__, str(path), str(devices), str(os.getpid())]
    # In a session of its own, where Ctrl-C does not reach it: it is told to stop once, by us, and tells its ranks.
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    told = False
    try:
        while process.poll() is None:
            if interruption and not told:
                told = True
                process.terminate()
            time.sleep(0.1)
    finally:
        if process.poll() is None:
            process.terminate()
    if (
        process.returncode and not interruption
    ):  # else one rank was killed before it had left, and another missed it
        _tell_first_error(cell, folder)


def _tell_first_error(cell: Cell, folder: Path) -> None:
    """Record the error of another rank if it came before rank 0's, which then only lost the connection."""
    errors = sorted(folder.glob("error-*.txt"), key=lambda file: file.stat().st_mtime)
    known = record.read(folder)
    if known.state not in ("running", "killed", "failed") or not errors:  # running: START_LOCK is ours
        return
    if errors[0].stat().st_mtime < known.status.get("time", math.inf):
        text = errors[0].read_text(encoding="utf-8", errors="replace")
        with Lock(folder):
            writer = record.Writer(folder, cell)
            step = known.last.get("step", 0)
            writer.finish("failed", step, error=text.strip().splitlines()[-1], traceback=text)
            writer.close()


def main(path: str, devices: str, parent: str) -> None:
    """torchrun, which leaves, and tells its ranks to, when the process that started it has ended."""
    start_program()
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    leave_with_parent(int(parent))
    logging.getLogger("torch.distributed.elastic").setLevel(
        logging.ERROR
    )  # as LOGLEVEL, which not all of it heeds
    try:
        torchrun(["--standalone", f"--nproc-per-node={devices}", "-m", "lightning_module.fit", path])
    except SignalException as told:
        sys.exit(128 + told.sigval)
    except ChildFailedError:
        sys.exit(1)  # each rank has said what happened to it


if __name__ == "__main__":
    main(*sys.argv[1:])
