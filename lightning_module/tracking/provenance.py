"""Where a number comes from: commit, versions, hardware."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lightning_module.support.disk import ROOT

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "wandb", "numpy")


@functools.cache
def provenance(device: str) -> dict[str, Any]:
    """commit, dirty, versions, hardware, host and scheduler job of this process; `device` is "cpu" or "cuda"."""
    commit = os.environ.get("RESIDUAL_COMMIT") or _git("rev-parse", "HEAD") or "unknown"
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(
            metadata.PackageNotFoundError
        ):  # wandb may be absent where nothing is tracked
            versions[name] = metadata.version(name)
    return {
        "commit": commit.removesuffix("-dirty"),
        "dirty": commit.endswith("-dirty") or bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **versions},
        "hardware": _hardware(device),
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID", ""),
    }


def _git(*arguments: str) -> str:
    if not (ROOT / ".git").exists():  # installed; a repository around it is somebody else's
        return ""
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _hardware(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{model}, {torch.get_num_threads()} threads"
