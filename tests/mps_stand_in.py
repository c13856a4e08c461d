"""A stand-in for NVIDIA's MPS, nvidia-smi and driver, which notes what it is asked; nothing else has no GPU."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONTROL = """#!/bin/sh
[ "$1" = -d ] && asked="start $CUDA_VISIBLE_DEVICES" || asked=$(cat)
echo "$asked $CUDA_MPS_PIPE_DIRECTORY" >> {log}
"""
SMI = """#!/bin/sh
[ "$*" = "--query-gpu=index,uuid --format=csv,noheader" ] || exit 2
for i in 0 1 2 3; do echo "$i, GPU-$i"; done
"""
NOTE = """
import os, sys
if "RESIDUAL_CELLS_PER_DEVICE" in os.environ:
    names = ("CUDA_VISIBLE_DEVICES", "RESIDUAL_CELLS_PER_DEVICE", "CUDA_MPS_PIPE_DIRECTORY")
    with open({log!r}, "a") as file:
        print(*map(os.environ.get, names), file=file)
"""
DRIVER = """
#include <stdlib.h>
int cuInit(unsigned flags) { return atoi(getenv("STAND_IN_CODE")); }
int cuDevicePrimaryCtxRetain(void **context, int device) { return 0; }
"""


@dataclass(frozen=True)
class StandIn:
    """environment: for programs that are to find it."""

    environment: dict[str, str]
    log: Path
    noted: Path

    def asked(self) -> list[list[str]]:
        """What was asked of MPS, and the server's folder."""
        return _words(self.log)

    def clients(self) -> list[list[str]]:
        """Devices, cells that share them, and the server's folder, of every process of a cell that was started."""
        return _words(self.noted)


def _words(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def stand_in(folder: Path, code: int = 0) -> StandIn:
    """code: what the driver says to a client; 0 is success."""
    folder.mkdir()
    log = folder / "log"
    for name, text in (("nvidia-cuda-mps-control", CONTROL.format(log=log)), ("nvidia-smi", SMI)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    compiler = ["gcc", "-shared", "-x", "c", "-", "-o", folder / "libcuda.so.1"]
    subprocess.run(compiler, input=DRIVER, text=True, check=True)
    (folder / "sitecustomize.py").write_text(NOTE.format(log=str(folder / "clients")))
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(folder)}
    environment["PYTHONPATH"] = f"{folder}:{os.environ.get('PYTHONPATH', '')}"
    return StandIn({**environment, "STAND_IN_CODE": str(code)}, log, folder / "clients")
