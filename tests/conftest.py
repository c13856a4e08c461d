"""What every room's tests share: the repository's root on the path, and small cells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small import ROOT, heed_permissions

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


SHARED = {"slurm_cluster": "cluster", "bare_cluster": "cluster", "made": "wandb"}
"""Fixture -> the group of the tests that use it. In several processes (`pytest -n 2`) one of them runs a group: a
cluster is slow to set up, and two at once are too much for a small machine."""


def _group(item: pytest.Item) -> str:
    names = getattr(item, "fixturenames", ())
    return next((group for name, group in SHARED.items() if name in names), "")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Before xdist looks for groups."""
    if group := _group(item):
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What mostly waits for a cluster begins first; the rest fills the time."""
    items.sort(key=lambda item: ("cluster", "wandb", "").index(_group(item)))
