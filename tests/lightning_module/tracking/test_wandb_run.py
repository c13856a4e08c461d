"""What the tracker leaves on W&B, and that nothing on its side can slow or break a run."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from small import ROOT
from wandb_lab import ATTEMPTS, work
from wandb_server import Server
from wandb_worker import make_cell

from lightning_module.cell import record
from lightning_module.tracking import wandb_process
from lightning_module.tracking.wandb_run import Tracker
from reports import push
from reports.sources import wandb_offline
from reports.sources._wandb_rows import surviving_rows


def rows(folder: Path) -> list[dict[str, float]]:
    """What the newest W&B file of a run holds."""
    fragment = wandb_offline.read_files(wandb_offline.files(folder)[-1:])
    return plain(surviving_rows(fragment.rows, fragment.config["attempt"]))


def plain(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Rows without what W&B adds, or the record."""
    return [{key: row[key] for key in row if not key.startswith("_") and key != "event"} for row in rows]


def test_two_cells_in_one_process_are_two_runs(made: Path) -> None:
    for spec in ATTEMPTS:
        cell = make_cell(int(str(spec["seed"])), int(str(spec.get("depth", 20))))
        run = wandb_offline.read_files(wandb_offline.files(made / cell.identity))
        assert run.about["run_id"] == cell.identity
        assert run.about["display_name"] == cell.name
        assert run.about["run_group"] == "depth"
        assert run.about["job_type"] == "train"
        assert set(run.about["tags"]) == {"depth", "digits", "basic", "shortcut A"}
        assert run.config["model"]["depth"] == spec.get("depth", 20)
        assert len(run.rows) == spec["last"]


def test_summary_is_the_last_epoch_not_the_best(runs: Path) -> None:
    done = work(runs, [{"seed": 13, "last": 4}])
    assert done.returncode == 0, done.stderr
    told = record.read(runs / make_cell(13).identity).last
    run = wandb_offline.read_files(wandb_offline.files(runs / make_cell(13).identity))
    assert run.summary["test/error"] == told["test/error"]
    assert run.summary["epoch"] == 4
    assert run.summary["status"] == "finished"


def test_killed_run_keeps_what_was_logged_a_second_before(runs: Path) -> None:
    run = wandb_offline.read_files(wandb_offline.files(runs / make_cell(4).identity))
    assert [row["epoch"] for row in run.rows] == [1, 2, 3]
    assert run.config["model"]["shortcut"] == "A"


def test_last_file_of_a_resumed_run_is_the_whole_run(runs: Path) -> None:
    folder = runs / make_cell(3).identity
    assert len(wandb_offline.files(folder)) == 2
    told = plain(record.read(folder).epochs)
    assert rows(folder) == told
    assert [row["seconds"] for row in told][2] == pytest.approx(0.2 + 1), (
        "epoch 3 is that of the second attempt"
    )


def test_a_failed_run_that_is_run_again_is_no_longer_failed(runs: Path) -> None:
    assert work(runs, [{"seed": 2, "last": 4}]).returncode == 0
    frames = wandb_offline.load(str(runs), None)
    assert frames.runs.set_index("identity").at[make_cell(2).identity, "state"] == "finished"


def test_without_a_logger_wandb_is_never_imported(tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("raise RuntimeError('imported')")
    done = work(
        tmp_path / "runs",
        [{"seed": 0, "last": 2}],
        "none",
        PYTHONPATH=f"{tmp_path}:{ROOT}",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_without_the_package_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError('no wandb here')")
    done = work(tmp_path / "runs", [{"seed": 0, "last": 2}], PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 0
    assert done.stderr.splitlines() == ["W&B is off for ResNet-20 A seed 0 (no wandb here); training goes on"]
    assert record.read(tmp_path / "runs" / make_cell(0).identity).state == "finished"


def test_online_without_a_key_is_offline(tmp_path: Path) -> None:
    done = work(tmp_path / "runs", [{"seed": 0, "last": 2}], "online", WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "there is no API key for" in done.stderr
    assert "logged offline" in done.stderr
    assert len(rows(tmp_path / "runs" / make_cell(0).identity)) == 2


def test_a_server_that_never_answers_costs_a_few_seconds_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.perf_counter()
        done = work(
            tmp_path / "runs",
            [{"seed": 0, "last": 2}, {"seed": 1, "last": 2}],
            "online",
            WANDB_BASE_URL=address,
            WANDB_API_KEY="a" * 40,
        )
        assert time.perf_counter() - start < 25
    assert done.returncode == 0
    opened = [float(line.split()[0]) for line in done.stdout.splitlines()]
    assert opened[1] < 1, "the second cell of a process does not wait again"
    waiting, *offline = done.stderr.splitlines()
    assert waiting == f"waiting for {address}, at most 10 s"
    assert len(offline) == 2 and all("does not answer within 10 s" in line for line in offline)
    assert all("logged offline" in line for line in offline)
    assert len(rows(tmp_path / "runs" / make_cell(1).identity)) == 2


def test_no_disk_for_wandb_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / make_cell(0).identity
    folder.mkdir(parents=True)
    (folder / "wandb").write_text("a file where the folder should be")
    done = work(tmp_path / "runs", [{"seed": 0, "last": 2}])
    assert done.returncode == 0, done.stderr
    assert record.read(folder).state == "finished"
    assert "W&B is off" in done.stderr


def test_a_full_disk_is_one_warning(tmp_path: Path) -> None:
    """A limit on the size of files, which the worker inherits, stands for a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        done = work(tmp_path / "runs", [{"seed": 0, "last": 2}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("W&B is off for ResNet-20 A seed 0")
    assert line.endswith("File too large); training goes on")
    assert record.read(tmp_path / "runs" / make_cell(0).identity).state == "finished"


def test_an_online_run_that_was_killed_is_one_whole_run_after_its_resumption(
    server: Server, tmp_path: Path
) -> None:
    runs = tmp_path / "online"
    environment = server.environment(tmp_path)
    assert (
        work(runs, [{"seed": 3, "last": 4, "end": "kill", "wait": 0.1}], "online", **environment).returncode
        == -9
    )
    assert work(runs, [{"seed": 3, "first": 4, "last": 6}], "online", **environment).returncode == 0
    run = server.projects["lab", "p"].runs[make_cell(3).identity]
    told = record.read(runs / make_cell(3).identity).epochs
    kept = surviving_rows(run.rows, json.loads(run.config)["attempt"]["value"])
    assert plain(kept) == plain(told)
    assert run.state == "finished"
    assert json.loads(run.summary)["epoch"] == 6


def test_a_server_that_dies_in_the_middle_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with Server() as server:
        environment = server.environment(tmp_path)
        server.fail(500, times=1000, operation="file_stream")
        start = time.perf_counter()
        done = work(tmp_path / "runs", [{"seed": 0, "last": 3}], "online", **environment)
        assert done.returncode == 0, done.stderr
        assert time.perf_counter() - start < 20
    assert record.read(tmp_path / "runs" / make_cell(0).identity).state == "finished"


def test_when_a_cell_has_ended_its_file_is_whole(tmp_path: Path) -> None:
    """Then nobody writes to it any more: after a cell may come a report, or the end of the process and of wandb's."""
    for seed in range(3):
        cell = make_cell(seed)
        (tmp_path / cell.identity).mkdir()
        record.Writer(tmp_path / cell.identity, cell).start(0, {})
        tracker = Tracker.open("offline", cell, tmp_path / cell.identity, project="p")
        assert wandb_process._idle
        ours = wandb_process._idle._process.pid
        assert living(ours), "wandb-core, which writes the file"
        tracker.log(1, 10, {"test/error": 1.0})
        tracker.finish("finished")
        assert not living(ours)
        run = wandb_offline.read_files(wandb_offline.files(tmp_path / cell.identity))
        assert run.rows and run.config and run.summary["status"] == "finished"


def living(pid: int) -> list[int]:
    """The processes below this one that have not ended."""
    stats = {child: Path(f"/proc/{child}/stat") for child in push._descendants(pid)}
    return [
        child
        for child, path in stats.items()
        if path.exists() and path.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    ]
