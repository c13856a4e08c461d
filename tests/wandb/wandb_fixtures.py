"""Runs made once by wandb_worker.py, and servers that they are pushed to."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb_lab import ATTEMPTS, CUT_OFF, KILLED, RESUMED, push, work
from wandb_server import Project, Server


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with every kind of end: finished, diverged, failed, killed, killed and resumed."""
    runs = tmp_path_factory.mktemp("made") / "runs"
    for attempts, code in ((ATTEMPTS, 0), (KILLED, -9), (RESUMED, 0), (CUT_OFF, -9)):
        done = work(runs, attempts)
        assert done.returncode == code, done.stderr
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An empty server that wandb in this process and its children talks to."""
    import wandb

    with Server({"a" * 40: ("lab",), "b" * 40: ("other",)}) as server:
        for key in [key for key in os.environ if key.startswith("WANDB_")]:
            monkeypatch.delenv(key)
        for key, value in server.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        monkeypatch.chdir(tmp_path)
        wandb.teardown()
        yield server
        wandb.teardown()


@pytest.fixture(scope="session")
def pushed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Project]:
    """What a server holds after `wandb sync` of those runs to lab/p."""
    folder = tmp_path_factory.mktemp("pushed")
    runs = Path(shutil.copytree(made, folder / "runs"))
    with Server() as server:
        push(runs.glob("*/wandb/offline-run-*"), **server.environment(folder))
        return server.projects


@pytest.fixture
def synced(server: Server, pushed: dict[tuple[str, str], Project]) -> Server:
    """The server with those runs in lab/p, as the package's own command pushed them."""
    server.projects = copy.deepcopy(pushed)
    return server
