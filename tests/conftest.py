"""What every room's tests share: the repository's root on the path, and small cells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from command_server import server
from small import ROOT
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["wandb_fixtures"]
os.environ["OMP_WAIT_POLICY"] = "passive"
torch.set_num_threads(1)  # a second one waits for a core that another process of the tests has

Door = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """`python run.py OVERRIDES`, in an empty folder."""
    return partial(server(heeds=True).run, "run.py", cwd=tmp_path)


@pytest.fixture
def fresh_door(tmp_path: Path) -> Door:
    """As `door`, in a Python that is started for it: what is said of imports and of variables that are read there."""

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "run.py"), *overrides]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)

    return run


TOGETHER = {
    "tests/slurm/": "cluster",
    "tests/reports/test_from_wandb_alone.py": "from wandb alone",
    **dict.fromkeys(
        (f"tests/reports/test_{name}.py" for name in ("audit", "publish", "shared_project", "sync")), "wandb"
    ),
    "tests/reports/sources/test_wandb": "wandb",
    "tests/lightning_module/tracking/test_wandb_versions.py": "versions",
}
"""Beginning of a path -> the group of its tests. In several processes (`pytest -n 2`) one of them runs a group: what
its tests share is slow to set up, and two clusters at once are too much for a small machine."""


class Together(LoadScopeScheduling):
    """Every test for itself, but for the groups; the largest group begins first."""

    def _split_scope(self, nodeid: str) -> str:
        group = next((group for path, group in TOGETHER.items() if nodeid.startswith(path)), nodeid)
        return group if group != "cluster" or needs_cluster(nodeid.partition("::")[0]) else nodeid


@cache
def needs_cluster(path: str) -> bool:
    """Whether a file of tests/slurm has tests that start one."""
    return "import Cluster" in (ROOT / path).read_text("utf-8")


@pytest.hookimpl(optionalhook=True)  # -p no:xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """How xdist shares out the tests."""
    return Together(config, log)
