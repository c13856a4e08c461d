"""The oldest and the newest wandb that are supported: what is trained with them is read back, and is the record's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import wandb_versions
from small import ISSUE, ROOT
from wandb_lab import ATTEMPTS, same, work
from wandb_server import Server
from wandb_worker import make_cell

from lightning_module.cell import record
from reports.sources import records, wandb_offline
from reports.sources._wandb_rows import surviving_rows


@pytest.fixture(scope="module", params=["oldest", "newest"])
def version(request: pytest.FixtureRequest) -> str:
    return str(getattr(wandb_versions, request.param)())


def written_by(version: str, folder: Path) -> bool:
    """Whether every W&B file below a folder says so in its header."""
    files = list(folder.glob("*/wandb/*run-*/*.wandb"))
    return bool(files) and all(version.encode() in file.read_bytes() for file in files)


def test_attempts_offline(version: str, tmp_path: Path) -> None:
    path = {"PYTHONPATH": wandb_versions.path(version)}
    done = work(tmp_path / "runs", ATTEMPTS, **path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert written_by(version, tmp_path / "runs")
    same(wandb_offline.load(str(tmp_path / "runs"), None), records.load(str(tmp_path / "runs"), None))
    resumed = tmp_path / "resumed"
    assert work(resumed, [{"seed": 3, "last": 3, "end": "kill"}], **path).returncode == -9
    assert work(resumed, [{"seed": 3, "first": 3, "last": 5}], **path).returncode == 0
    whole, told = wandb_offline.load(str(resumed), None), records.load(str(resumed), None)
    pd.testing.assert_frame_equal(whole.history, told.history, check_exact=True)


def test_attempts_online(version: str, server: Server, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    attempts = [
        {"seed": 0, "last": 3},
        {"seed": 3, "last": 3, "end": "failed"},
        {"seed": 3, "first": 3, "last": 5},
    ]
    path = {"PYTHONPATH": wandb_versions.path(version)}
    done = work(runs, attempts, "online", **server.environment(tmp_path) | path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for seed, last in ((0, 3), (3, 5)):
        run = server.projects["lab", "p"].runs[make_cell(seed).identity]
        rows = surviving_rows(run.rows, json.loads(run.config)["attempt"]["value"])
        told = record.read(runs / run.name)
        assert [row["epoch"] for row in rows] == list(range(1, last + 1))
        for row, line in zip(rows, told.epochs, strict=True):
            assert {key: row[key] for key in line if key != "event"} == {
                key: line[key] for key in line if key != "event"
            }
        assert run.state == "finished" and json.loads(run.summary)["status"] == "finished"
        assert [event["event"] for event in json.loads(run.summary)["events"]] == [
            event["event"] for event in told.events
        ]


def test_a_server_that_is_away_and_a_run_that_does_not_arrive(server: Server, tmp_path: Path) -> None:
    """With the oldest; test_wandb_outages.py has them with the one that is installed."""
    path = {"PYTHONPATH": wandb_versions.path(wandb_versions.oldest())}
    limits = {"REACH_TIMEOUT": 3, "FINISH_TIMEOUT": 1, "GRACE": 2, "ARRIVAL_TIMEOUT": 1, "FORGET": 0}
    server.fail(500, times=1000, operation="UpsertBucket")
    away = work(
        tmp_path / "a", [{"seed": 0, "last": 2}], "online", limits, **server.environment(tmp_path) | path
    )
    assert "is logged offline" in away.stderr and len(list((tmp_path / "a").glob("*/wandb/offline-*"))) == 1
    server._faults.clear()
    server.fail(503, times=1000, operation="file_stream")
    cut = work(
        tmp_path / "b", [{"seed": 0, "last": 2}], "online", limits, **server.environment(tmp_path) | path
    )
    assert cut.returncode == 0 and "is not whole on W&B" in cut.stderr


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_real_cell(version: str, mode: str, server: Server, tmp_path: Path) -> None:
    texts = [text for text in ISSUE if text != "logger=none"]
    logger = {"offline": "wandb_offline", "online": "wandb"}[mode]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *texts, f"logger={logger}", "trainer.progress=false"],
        cwd=tmp_path,
        env=os.environ | server.environment(tmp_path) | {"PYTHONPATH": wandb_versions.path(version)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "W&B" in line], done.stderr
    runs = tmp_path / "runs"
    assert written_by(version, runs)
    told = record.read(next(runs.glob("*/record.jsonl")).parent)
    assert told.attempts[0]["versions"]["wandb"] == version
    if mode == "offline":
        same(wandb_offline.load(str(runs), None), records.load(str(runs), None))
    else:
        (run,) = server.projects["lab", "residual-ablations"].runs.values()
        assert [row["test/error"] for row in run.rows] == [line["test/error"] for line in told.epochs]
        assert run.state == "finished"
