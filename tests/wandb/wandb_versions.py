"""Versions of wandb beside the one that is installed: each in a folder of its own, kept outside the repository.

    folder = install(OLDEST)      # a folder for PYTHONPATH; pytest.skip where the index cannot be reached

The first time takes half a minute and 115 MB for the oldest; later ones take nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from small import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "residual-ablations-tests"


def oldest() -> str:
    """What pyproject.toml names as the lower end."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (wanted,) = [text for text in project["dependencies"] if re.match(r"wandb\b", text)]
    match = re.fullmatch(r"wandb>=([\d.]+)", wanted)
    assert match, f"{wanted}: every version from the oldest on is supported"
    return match[1] + ".0" * (2 - match[1].count("."))


@cache
def newest() -> str:
    """The newest on the index; pytest.skip if it cannot be asked."""
    done = _pip("index", "versions", "wandb")
    if done.returncode:
        pytest.skip(f"the newest wandb is not known: {done.stderr.strip()[-200:]}")
    match = re.search(r"^wandb \(([\d.]+)\)", done.stdout)
    assert match, done.stdout
    return match[1]


def install(version: str) -> Path:
    """A folder with this wandb and what it needs, made if it is not there yet."""
    folder = CACHE / f"wandb-{version}-python-{sys.version_info.major}.{sys.version_info.minor}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        done = _pip("install", "--quiet", "--target", str(scratch / "new"), f"wandb=={version}")
        if done.returncode:
            pytest.skip(f"wandb {version} cannot be installed: {done.stderr.strip()[-200:]}")
        if not folder.exists():  # another process may have been faster
            (scratch / "new").rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def path(version: str) -> str:
    """PYTHONPATH for this version and our own modules; the installed one needs no folder."""
    here = str(ROOT)
    return here if version == metadata.version("wandb") else os.pathsep.join([str(install(version)), here])


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
