"""Several cells on one GPU: NVIDIA's MPS, so that their kernels run side by side, and each cell's part of the memory.

Needs the standard library alone: a batch script runs this file, `mps.py start DEVICES` and `mps.py quit`. What it
starts it also ends. Processes that are clients of one MPS server share its fate: a fault that ends one of them on the
device (an illegal address) ends all.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

CONTROL = "nvidia-cuda-mps-control"
FOLDER, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
DEVICES = "RESIDUAL_MPS_DEVICES"
"""Names, as for CUDA_VISIBLE_DEVICES, of the devices of a server that we have started."""
CELLS = "RESIDUAL_CELLS_PER_DEVICE"
"""How many cells share a GPU, told to the process of each."""
TENSORS = 0.9
"""Of a GPU's memory that cells share: for their tensors; the rest is for what CUDA keeps of each process."""
CLIENT = (
    "import ctypes; cuda, context = ctypes.CDLL('libcuda.so.1'), ctypes.c_void_p(); "
    "raise SystemExit(cuda.cuInit(0) != 0 or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) != 0)"
)
"""A program that fails where no process can use the device."""
PATIENCE = 30.0
"""Seconds for each thing that is asked of MPS."""


def memory_share() -> float:
    """The part of a GPU's memory that this process may fill with tensors: all of it, if no other cell is on it."""
    told = os.environ.get(CELLS, "")
    cells = int(told) if told.isdecimal() else 1
    return TENSORS / cells if cells > 1 else 1.0


@contextlib.contextmanager
def serve(gpus: Sequence[str]) -> Iterator[list[str]]:
    """MPS for the processes that are started within, if it can be had -> the GPUs by names that those can use."""
    if not (made := start(gpus)):
        yield list(gpus)
        return
    os.environ.update(made)
    try:
        yield made[DEVICES].split(",")
    finally:
        leave()


def start(gpus: Sequence[str]) -> dict[str, str]:
    """Start a server for these GPUs -> what its clients need in their environment.

    gpus: as in CUDA_VISIBLE_DEVICES. Empty where there is no MPS, where it does not work, which is said, or where
    somebody has started one for us already.
    """
    if not gpus or FOLDER in os.environ or not shutil.which(CONTROL):
        return {}
    folder = tempfile.mkdtemp(prefix="mps-")
    made = {FOLDER: folder, LOGS: folder}
    try:
        # MPS numbers the devices that it is given anew, from 0; UUIDs mean the same to it, to its clients and to us.
        made[DEVICES] = ",".join(uuids(gpus))
        clients = {**os.environ, **made, "CUDA_VISIBLE_DEVICES": made[DEVICES]}
        for command in ([CONTROL, "-d"], [sys.executable, "-c", CLIENT]):
            _run(command, clients)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        quit_(made)
        print(
            f"warning: cells take turns on the GPU, because MPS does not work here ({error})", file=sys.stderr
        )
        return {}
    return made


def uuids(gpus: Sequence[str]) -> list[str]:
    """The names of GPUs that no renumbering changes; KeyError for a number that nvidia-smi does not know."""
    listed = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    done = subprocess.run(listed, capture_output=True, encoding="utf-8", check=True, timeout=PATIENCE)
    known = dict(line.split(", ", 1) for line in done.stdout.splitlines() if ", " in line)
    return [known[gpu].strip() if gpu.isdecimal() else gpu for gpu in gpus]


def leave() -> None:
    """Quit the server that `start` has started, if this environment is that of its clients, and forget it."""
    if DEVICES in os.environ:
        quit_(os.environ)
        for name in (FOLDER, LOGS, DEVICES):
            del os.environ[name]


def quit_(made: Mapping[str, str]) -> None:
    """Ask the server in this environment to end; it is not waited for longer than PATIENCE."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        _run([CONTROL], {**os.environ, **made}, "quit\n")
    shutil.rmtree(made[FOLDER], ignore_errors=True)


def _run(command: Sequence[str], environment: Mapping[str, str], told: str = "") -> None:
    # Nothing of ours stays open in the daemon, and no Ctrl-C reaches it: cells still save then.
    subprocess.run(
        command, env=environment, input=told, encoding="utf-8", stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, check=True, timeout=PATIENCE, start_new_session=True,
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "start":
        for variable, text in start([gpu for gpu in sys.argv[2].split(",") if gpu]).items():
            print(f"export {variable}={shlex.quote(text)}")
    else:
        leave()
