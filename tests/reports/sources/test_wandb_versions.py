"""Files of wandb 0.16 to 0.31 (tests/wandb/files, and how they were made) are read alike, without the package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from frames_schema import checked
from small import ROOT
from wandb_lab import push, same
from wandb_server import Server
from wandb_worker import make_cell, metrics

from reports.sources import wandb_api, wandb_offline
from reports.sources._wandb_records import MESSAGES

FILES = ROOT / "tests" / "wandb" / "files"
TOLD = json.loads((FILES / "told.json").read_text())
VERSIONS = ("0.16", "0.17", "0.19", "0.22", "0.25", "0.28", "0.31")
CELL = make_cell(13)


def folder_with(runs: Path, version: str) -> Path:
    """A runs folder in which that version logged the run."""
    folder = runs / CELL.identity / "wandb" / f"offline-run-20260101_000000-{CELL.identity}"
    folder.mkdir(parents=True)
    shutil.copy(FILES / f"{version}.wandb", folder / f"run-{CELL.identity}.wandb")
    return runs


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_of_any_version_is_read_value_by_value(tmp_path: Path, version: str) -> None:
    frames = checked(wandb_offline.load(str(folder_with(tmp_path, version)), None))
    run = frames.runs.set_index("identity").loc[CELL.identity]
    assert (run["state"], run["reason"], run["name"]) == ("diverged", "", CELL.name)
    assert (run["recipe.drops"], run["model.gate_bias"], run["seed"]) == ((240, 340), 0.5, 13)
    assert run["versions"] == "torch 2.13.0"
    assert frames.events == {CELL.identity: TOLD["summary"]["events"]}
    assert frames.summaries == {}
    history = frames.history
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["val.epoch"].tolist() == [7, 7, 7]
    assert history["val.loss.mean"].tolist() == [epoch / 3 for epoch in (1, 2, 3)]
    for epoch in (1, 2, 3):
        row = history.iloc[epoch - 1]
        for name, value in metrics(13, epoch, 1).items():
            assert row[name] == value or (value != value and row[name] != row[name])


def test_a_server_tells_the_same_as_the_file(server: Server, tmp_path: Path) -> None:
    runs = folder_with(tmp_path / "runs", "0.31")
    push(runs.glob("*/wandb/offline-run-*"))
    same(wandb_api.load("lab/p", None), wandb_offline.load(str(runs), None))


@pytest.mark.parametrize("version", VERSIONS)
def test_what_names_a_run_is_in_files_of_any_version(version: str) -> None:
    fragment = wandb_offline.read_files([FILES / f"{version}.wandb"])
    assert not fragment.damage
    assert fragment.about == {
        "run_id": TOLD["id"],
        "entity": "lab",
        "project": "p",
        "display_name": TOLD["name"],
        "run_group": "depth",
        "job_type": "train",
        "tags": TOLD["tags"],
    }


@pytest.mark.parametrize("place", range(7, 3200, 97))
def test_a_file_that_is_wrong_anywhere_is_read_as_far_as_it_can_be(tmp_path: Path, place: int) -> None:
    data = bytearray((FILES / "0.31.wandb").read_bytes())
    data[place] ^= 0x55
    path = tmp_path / "run.wandb"
    path.write_bytes(data)
    assert wandb_offline.read_files([path]).damage.startswith("run.wandb ")


def test_our_numbers_are_those_of_the_package() -> None:
    internal: Any = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    theirs = {"Record": "Record", "Run": "RunRecord", "History": "HistoryRecord", "Item": "HistoryItem"}
    for message, name in theirs.items():
        known = getattr(internal, name).DESCRIPTOR.fields_by_name
        for field, (number, _) in MESSAGES[message].items():
            assert field not in known or known[field].number == number, f"{message}.{field}"


def test_reading_needs_no_wandb_package(tmp_path: Path) -> None:
    folder_with(tmp_path, "0.31")
    code = (
        "import sys; sys.modules['wandb'] = None; from reports.sources import wandb_offline;"
        "print(len(wandb_offline.load(sys.argv[1], None).history))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("3\n", 0), done.stderr
