"""The offline reader: the same values as the package's own reader, the same frames as from the records."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
from frames_schema import checked
from wandb_lab import same, work
from wandb_worker import make_cell

from lightning_module.support.disk import Lock
from lightning_module.support.errors import ConfigError
from reports.sources import records, wandb_offline


def leet(path: Path) -> list[dict[str, Any]]:
    """What wandb's own reader makes of a file: one JSON object per record."""
    core = Path(wandb.__file__).parent / "bin" / "wandb-core"
    command = [str(core), "leet", "inspect", "-no-observability", "-json", "-run-file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def plain(value: Any) -> Any:
    """NaN spelled as leet spells it, so that it equals itself."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return "NaN" if value != value else value


def test_every_value_is_that_of_the_packages_own_reader(made: Path) -> None:
    paths = sorted(made.glob("*/wandb/*/*.wandb"))
    assert len(paths) == 8
    values = 0
    for path in paths:
        fragment = wandb_offline.read_files([path])
        theirs: dict[str, list[dict[str, Any]]] = {}
        for line in leet(path):
            theirs.setdefault(line["type"], []).append(line[line["type"]])
        rows = [line["item"] for line in theirs["history"]]
        summary: dict[str, Any] = {}
        for line in theirs["summary"]:
            summary |= line["update"]
        (run,) = theirs["run"]
        assert [plain(row) for row in fragment.rows] == rows
        mine = {key: value for key, value in fragment.summary.items() if key != "_wandb"}
        assert plain(mine) == {key: value for key, value in summary.items() if not key.startswith("_wandb")}
        assert fragment.config == run["config"]["update"]
        assert fragment.about["run_id"] == run["run_id"]
        names = ("entity", "project", "display_name", "run_group", "job_type", "tags")
        assert {name: fragment.about[name] or None for name in names} == {
            name: run.get(name) for name in names
        }
        values += sum(len(row) for row in (*rows, summary))
    assert values > 300


def test_frames_are_those_of_the_records(made: Path) -> None:
    one, other = wandb_offline.load(str(made), None), records.load(str(made), None)
    same(checked(one), other)
    states = one.runs.set_index("identity")["state"].to_dict()
    assert sorted(states.values()) == [
        "diverged",
        "failed",
        "finished",
        "finished",
        "finished",
        "finished",
        "killed",
    ]
    assert one.runs["dirty"].dtype == bool
    assert one.runs.set_index("identity").at[make_cell(3).identity, "attempts"] == 2


def test_a_second_reading_opens_no_file(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = wandb_offline.load(str(runs), None)
    monkeypatch.setattr(wandb_offline, "read_files", lambda paths: pytest.fail(f"{paths} were read again"))
    again = wandb_offline.load(str(runs), None)
    same(again, first)
    assert list(again.runs["checksum"]) == list(first.runs["checksum"])


def test_a_resumed_run_is_read_again(runs: Path) -> None:
    before = wandb_offline.load(str(runs), None).runs.set_index("identity")
    assert work(runs, [{"seed": 4, "first": 3, "last": 5}]).returncode == 0
    after = wandb_offline.load(str(runs), None).runs.set_index("identity")
    name = make_cell(4).identity
    assert (before.at[name, "epoch"], before.at[name, "state"]) == (3, "killed")
    assert (after.at[name, "epoch"], after.at[name, "state"]) == (5, "finished")


def test_epochs_beyond_the_step_of_a_resumption_do_not_count(runs: Path) -> None:
    """Killed after epoch 3, resumed from a checkpoint after epoch 1, diverged in epoch 2: 3 never happened."""
    done = work(runs, [{"seed": 4, "first": 2, "last": 2, "end": "diverged"}])
    assert done.returncode == 0, done.stderr
    frames = wandb_offline.load(str(runs), None)
    same(frames, records.load(str(runs), None))
    assert frames.runs.set_index("identity").at[make_cell(4).identity, "epoch"] == 2


def test_a_process_at_work_is_running(runs: Path) -> None:
    with Lock(runs / make_cell(4).identity):
        frames = wandb_offline.load(str(runs), None)
    assert frames.runs.set_index("identity").at[make_cell(4).identity, "state"] == "running"


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_read_up_to_there(runs: Path, keep: float) -> None:
    folder = runs / make_cell(1).identity
    whole = wandb_offline.read_files(wandb_offline.files(folder))
    (path,) = wandb_offline.files(folder)
    data = path.read_bytes()[: int(path.stat().st_size * keep)]
    path.write_bytes(data)
    run = wandb_offline.read_files(wandb_offline.files(folder))
    if run and not run.damage:  # by chance between two records, which is the end of a whole file
        path.write_bytes(data[:-1])
        run = wandb_offline.read_files(wandb_offline.files(folder))
    assert not whole.cut
    assert run.rows == whole.rows[: len(run.rows)]
    assert run.cut
    reason = (
        wandb_offline.load(str(runs), None).runs.set_index("identity").at[make_cell(1).identity, "reason"]
    )
    assert "ends in the middle of a record, at byte" in reason


def test_damage_in_the_middle_is_said_and_what_is_before_it_is_kept(runs: Path) -> None:
    folder = runs / make_cell(1).identity
    (path,) = wandb_offline.files(folder)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"train/loss")
    data[place] ^= 1
    path.write_bytes(data)
    frames = wandb_offline.load(str(runs), None)
    row = frames.runs.set_index("identity").loc[make_cell(1).identity]
    assert row["state"] == "damaged"
    assert "is damaged at byte" in row["reason"]
    assert 0 < row["epoch"] <= 5
    assert len(frames.runs) == 7, "the others are read"


def test_a_whole_later_attempt_makes_good_a_damaged_earlier_one(runs: Path) -> None:
    folder = runs / make_cell(3).identity
    path = wandb_offline.files(folder)[0]
    path.write_bytes(path.read_bytes()[:40] + b"\0" * 100)
    row = wandb_offline.load(str(runs), None).runs.set_index("identity").loc[make_cell(3).identity]
    assert (row["state"], row["epoch"]) == ("finished", 6)
    assert "damaged at byte" in row["reason"]


def test_something_else_with_that_name_is_damage(runs: Path) -> None:
    (path,) = wandb_offline.files(runs / make_cell(1).identity)
    path.write_text("not a log")
    row = wandb_offline.load(str(runs), None).runs.set_index("identity").loc[make_cell(1).identity]
    assert row["state"] == "damaged"
    assert "is not a .wandb file of a known version" in row["reason"]


def test_records_longer_than_a_block_are_joined(tmp_path: Path) -> None:
    """A configuration of 200 kB spans seven blocks; written by wandb itself."""
    code = (
        "import wandb; run = wandb.init(mode='offline', project='p', dir='.', config={'big': 'x' * 200_000});"
        " [run.log({'epoch': i, 'y': i / 7}) for i in range(300)]; run.finish()"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "WANDB_ERROR_REPORTING": "false"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=60)
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    fragment = wandb_offline.read_files([path])
    assert fragment.damage == ""
    assert len(fragment.config["big"]) == 200_000
    assert [row["y"] for row in fragment.rows] == [i / 7 for i in range(300)]


def test_a_folder_without_runs_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no W&B files"):
        wandb_offline.load(str(tmp_path), None)
    with pytest.raises(ConfigError, match="is not a folder"):
        wandb_offline.load(str(tmp_path / "nowhere"), None)


def test_a_cache_that_is_damaged_is_done_without(runs: Path) -> None:
    first = wandb_offline.load(str(runs), None)
    (runs / wandb_offline.CACHE).write_bytes(b"PAR1 nonsense")
    same(wandb_offline.load(str(runs), None), first)
    shutil.rmtree(runs / make_cell(1).identity)
    assert len(wandb_offline.load(str(runs), None).runs) == 6
