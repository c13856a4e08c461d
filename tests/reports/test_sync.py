"""Sync: what is not on W&B gets there, or it is said why not, in bounded time."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest
from wandb_lab import edit, work
from wandb_server import ProjectNode, Run, Server
from wandb_worker import make_cell

from lightning_module.cell import record
from lightning_module.support.errors import ConfigError
from reports import __main__ as door
from reports import audit, push, sync
from reports.sources import _wandb_client, wandb_offline


def test_a_file_with_another_configuration_is_made_again_from_the_record(
    server: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its history is that of the record, so only the configuration tells."""
    path = runs / make_cell(1).identity / record.FILE
    _, *rest = re.sub(r', "crc": \d+', "", path.read_text()).splitlines(keepends=True)
    other = make_cell(1, 32)
    path.write_text("".join([json.dumps({"event": "cell", "schema": 1, **other.to_json()}) + "\n", *rest]))
    path.parent.rename(runs / other.identity)
    assert audit.main(["--runs", str(runs)]) == 1
    assert "model.depth: 32 in the record, 20 on W&B" in line(capsys.readouterr().out, "different")
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert (
        json.loads(server.projects["lab", "p"].runs[other.identity].config)["model"]["value"]["depth"] == 32
    )


def test_a_server_that_shows_things_late_is_asked_again(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was written is not in its lists at once."""
    real, asked = ProjectNode._select, 0

    def select(self: ProjectNode, filters: str | None) -> list[Run]:
        nonlocal asked
        asked += 1
        return [] if asked <= 4 else real(self, filters)  # runCount and runs, at each reading

    monkeypatch.setattr(ProjectNode, "_select", select)
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "7 of 7 runs pushed to wandb:lab/p and checked there" in capsys.readouterr().out
    assert server.requests.count("Runs") == 4  # before there was a project, twice too early, and then


def test_a_sync_makes_the_project_and_checks_every_run(
    server: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync.main(["lab/new", "--runs", str(runs), "--dry-run"]) == 0
    assert "7 of 7 runs to push" in capsys.readouterr().out
    assert "UpsertBucket" not in server.requests
    files = len(list(runs.rglob("*.wandb")))
    assert sync.main(["lab/new", "--runs", str(runs)]) == 0
    assert "7 of 7 runs pushed to wandb:lab/new and checked there" in capsys.readouterr().out
    run = server.projects["lab", "new"].runs[make_cell(3).identity]
    assert [row["epoch"] for row in run.rows] == [1, 2, 3, 4, 5, 6], "the last file alone holds the whole run"
    assert run.fields["groupName"] == "depth"
    assert len(list(runs.rglob("*.wandb"))) == files, "nothing was made that was there already"
    server.requests.clear()
    assert sync.main(["lab/new", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out == "wandb:lab/new has all of it\n"
    assert server.requests == ["Runs"]


def test_a_sync_that_fails_says_so_and_can_be_run_again(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`wandb sync` itself returns 0 for this."""
    monkeypatch.setattr(sync, "PATIENCE", 0.5)
    server.fail(404, times=4, operation="UpsertBucket")
    assert sync.main(["lab/p", "--runs", str(runs)]) == 1
    assert capsys.readouterr().out.count("did not arrive") == 4
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "4 of 4 runs pushed" in capsys.readouterr().out


def test_a_marker_file_is_not_believed(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in runs.rglob("*.wandb"):
        path.with_name(f"{path.name}.synced").touch()
    synced.projects.clear()
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "7 of 7 runs pushed" in capsys.readouterr().out


def test_runs_trained_without_wandb_are_pushed_from_their_records(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "plain"
    assert (
        work(runs, [{"seed": 0, "last": 3}, {"seed": 13, "last": 3, "end": "diverged"}], "none").returncode
        == 0
    )
    assert not list(runs.rglob("*.wandb"))
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "2 of 2 runs pushed" in capsys.readouterr().out
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0


def test_a_damaged_file_is_made_again_from_the_record(server: Server, runs: Path) -> None:
    (path,) = wandb_offline.files(runs / make_cell(1).identity)
    path.write_bytes(path.read_bytes()[:300])
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0


def test_neither_audit_nor_sync_takes_the_cache_for_the_server(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_wandb_client, "RETRIES", 1)
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0
    synced.__exit__()
    assert door.main(["audit", "lab/p", "--runs", str(runs)]) == 2
    assert door.main(["sync", "lab/p", "--runs", str(runs)]) == 2
    error = capsys.readouterr().err
    assert error.count("does not answer") == 2
    assert "Traceback" not in error
