"""Source `records`: the schema, the cache, and what happens to records that are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from frames_schema import checked
from synthetic import make_cell, sweep, train

from lightning_module.cell import record
from lightning_module.support.disk import Lock
from lightning_module.support.errors import ConfigError
from reports import sources
from reports.sources import records


def load(runs: Path) -> sources.Frames:
    return checked(sources.load("records", runs, None))


def same(a: sources.Frames, b: sources.Frames) -> None:
    pd.testing.assert_frame_equal(a.runs, b.runs)
    pd.testing.assert_frame_equal(a.history, b.history)
    assert a.events == b.events


def test_every_state_keeps_to_the_schema(tmp_path: Path) -> None:
    states = {
        (20, "A", 0): "failed",
        (20, "A", 1): "diverged",
        (20, "A", 2): "killed",
        (20, "A", 3): "planned",
    }
    manifest = sweep(tmp_path, depths=[20], shortcuts="A", states=states)
    frames = load(tmp_path)
    assert sorted(frames.runs["state"]) == ["diverged", "failed", "finished", "killed"]
    by_state = frames.runs.set_index("state")
    assert by_state.loc["failed", "reason"] == "RuntimeError: out of memory"
    assert by_state.loc["finished", "recipe.drops"] == (240, 340)
    assert by_state.loc["finished", "seconds"] == pytest.approx(18 * 0.4)
    assert len(frames.history) == 18 + 3 * 9
    assert list(sources.load("records", tmp_path, manifest).runs["identity"]) == list(frames.runs["identity"])


def test_values_are_those_of_the_record(tmp_path: Path) -> None:
    cell = make_cell()
    train(tmp_path, cell)
    frames, truth = load(tmp_path), record.read(tmp_path / cell.identity)
    for metric in ("test/error", "train/error", "train/loss", "learning_rate", "step"):
        assert frames.history[metric].tolist() == [line[metric] for line in truth.epochs]
    assert frames.runs["test/error"].tolist() == [truth.last["test/error"]]
    assert frames.events[cell.identity][0]["responses"] == truth.events[0]["responses"]


def test_cache_changes_nothing_and_sees_every_change(tmp_path: Path) -> None:
    sweep(tmp_path, depths=[20], shortcuts="AB", seeds=range(2))
    cold = load(tmp_path)
    assert (tmp_path / records.CACHE).exists()
    same(cold, load(tmp_path))
    cell = make_cell(20, "A", 0)
    (tmp_path / cell.identity / record.FILE).unlink()
    train(tmp_path, cell, state="diverged")
    changed = load(tmp_path).runs.set_index("identity")
    assert changed.loc[cell.identity, "state"] == "diverged"
    assert (changed["state"] == "finished").sum() == 3


def test_cached_records_are_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path, depths=[20], shortcuts="A", seeds=range(3))
    load(tmp_path)
    monkeypatch.setattr(record, "read", lambda folder: pytest.fail(f"{folder} was parsed again"))
    load(tmp_path)


def test_a_run_in_progress_is_running_although_cached(tmp_path: Path) -> None:
    cell = make_cell()
    train(tmp_path, cell, state="killed")
    assert load(tmp_path).runs["state"].tolist() == ["killed"]
    with Lock(tmp_path / cell.identity):
        assert load(tmp_path).runs["state"].tolist() == ["running"]


def test_a_damaged_record_is_one_damaged_row(tmp_path: Path) -> None:
    sweep(tmp_path, depths=[20], shortcuts="A", seeds=range(2))
    cell = make_cell(20, "A", 1)
    path = tmp_path / cell.identity / record.FILE
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], "garbage", *lines[5:]]) + "\n")
    runs = load(tmp_path).runs.set_index("identity")
    assert runs.loc[cell.identity, "state"] == "damaged"
    assert "line 5" in runs.loc[cell.identity, "reason"]
    assert str(tmp_path) not in runs.loc[cell.identity, "reason"]


def test_a_line_without_its_epoch_is_one_damaged_row(tmp_path: Path) -> None:
    cell = make_cell()
    train(tmp_path, cell)
    path = tmp_path / cell.identity / record.FILE
    path.write_text(path.read_text().replace('"epoch": 2, ', "", 1))
    runs = load(tmp_path).runs
    assert runs["state"].tolist() == ["damaged"]
    assert "its epoch is missing" in runs["reason"].iloc[0]


def test_a_record_in_a_foreign_folder_is_damaged(tmp_path: Path) -> None:
    cell = make_cell()
    train(tmp_path, cell)
    (tmp_path / cell.identity).rename(tmp_path / "somewhere")
    assert load(tmp_path).runs["state"].tolist() == ["damaged"]


def test_an_epoch_that_was_run_twice_counts_once(tmp_path: Path) -> None:
    cell = make_cell()
    train(tmp_path, cell, state="killed")
    writer = record.Writer(tmp_path / cell.identity, cell)
    writer.start(100, {})
    writer.epoch(5, 111, {"test/error": 1.5, "seconds": 1.0})
    writer.close()
    history = load(tmp_path).history
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert history["test/error"].iloc[-1] == 1.5


def test_an_empty_folder_gives_empty_frames(tmp_path: Path) -> None:
    frames = load(tmp_path)
    assert len(frames.runs) == 0
    assert len(frames.history) == 0


def test_bad_places_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps({}))
    with pytest.raises(ConfigError, match="is not a folder"):
        sources.load("records", tmp_path / "file", None)
    with pytest.raises(ConfigError, match="choose one of records"):
        sources.load("recods", tmp_path, None)
