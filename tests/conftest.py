"""What every room's tests share: the repository's root on the path, and small cells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small import ROOT, heed_permissions
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["wandb_fixtures"]
os.environ["OMP_WAIT_POLICY"] = "passive"

Door = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """`python run.py OVERRIDES`, in an empty folder."""

    def run(*overrides: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *overrides],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            preexec_fn=heed_permissions,
        )

    return run


TOGETHER = {
    **dict.fromkeys(
        (
            f"tests/slurm/test_{name}.py"
            for name in ("cluster", "environment", "launcher", "rounds", "site", "sweep")
        ),
        "cluster",
    ),
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
        return next((group for path, group in TOGETHER.items() if nodeid.startswith(path)), nodeid)


@pytest.hookimpl(optionalhook=True)  # -p no:xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """How xdist shares out the tests."""
    return Together(config, log)
