from __future__ import annotations

import fcntl
import json
import math
import os
import resource
import subprocess
import sys
import threading
import time

import pytest
from small import ROOT, heed_permissions

from ablations.sweep.compose import compose
from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.cell.record import FILE, START_LOCK, RecordError, Writer, is_locked, read, read_states
from lightning_module.support.disk import Busy, Lock
from lightning_module.support.errors import ConfigError


def make_cell(*overrides):
    """A cell of three epochs of ten steps."""
    return Cell(
        compose(["recipe.steps=30", "recipe.drops=[20]", *overrides]), (), "ResNet-20", 269722, 2535040
    )


@pytest.fixture
def cell():
    return make_cell()


@pytest.fixture
def folder(tmp_path, cell):
    """A record of three epochs, interrupted."""
    folder = tmp_path / cell.identity
    with Lock(folder):
        writer = Writer(folder, cell)
        writer.start(0, {"commit": "abc"})
        for epoch in (1, 2, 3):
            writer.epoch(epoch, 10 * epoch, {"test/error": 50.0 / epoch, "seconds": 1.0})
        writer.close()
    return folder


def test_states(folder, cell):
    assert read(folder / "nothing").state == "planned"
    assert read(folder).state == "killed"
    with Lock(folder):
        assert read(folder).state == "running"
        Writer(folder, cell).finish("finished", 30)
    assert read(folder).state == "finished"


def test_a_cell_whose_ranks_are_being_started_is_running(folder):
    with Lock(folder, START_LOCK):
        assert read(folder).state == "running"
    assert read(folder).state == "killed"


def test_a_second_process_is_refused(folder):
    with Lock(folder), pytest.raises(Busy):
        Lock(folder).__enter__()


def test_the_lock_of_another_users_run_can_be_looked_at(folder):
    (folder / "lock").chmod(0o444)
    code = f"from lightning_module.cell.record import *; print(read(Path({str(folder)!r})).state)"
    said = subprocess.check_output(
        [sys.executable, "-c", code], cwd=ROOT, text=True, preexec_fn=heed_permissions
    )
    assert said.strip() == "killed"


def test_epochs_after_the_checkpoint_are_superseded_by_the_attempt_that_repeats_them(folder, cell):
    writer = Writer(folder, cell)
    writer.start(20, {})
    assert [epoch["epoch"] for epoch in read(folder).epochs] == [1, 2]
    writer.epoch(3, 30, {"test/error": 1.0, "seconds": 1.0})
    record = read(folder)
    assert [epoch["test/error"] for epoch in record.epochs] == [50.0, 25.0, 1.0]
    assert len(record.attempts) == 2


@pytest.mark.parametrize(
    ("ends", "state"), [([10, 20], "finished"), ([10, 21], "damaged"), ([10], "damaged"), ([], "damaged")]
)
def test_a_last_epoch_as_an_older_program_numbered_it(tmp_path, cell, ends, state):
    """One too high, where its last step goes beyond its end; not with another epoch missing."""
    folder = tmp_path / cell.identity
    with Lock(folder):
        writer = Writer(folder, cell)
        writer.start(0, {"commit": "abc"})
        for epoch, step in enumerate(ends, start=1):
            writer.epoch(epoch, step, {"seconds": 1.0})
        writer.epoch(len(ends) + 2, 30, {"seconds": 1.0})
        writer.finish("finished", 30)
        writer.close()
    assert read(folder).state == state


def test_a_cut_last_line_is_recovered(folder, cell):
    path = folder / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert [epoch["epoch"] for epoch in read(folder).epochs] == [1, 2]
    writer = Writer(folder, cell)
    writer.start(20, {})
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert len(read(folder).attempts) == 2


def test_a_damaged_middle_is_said_and_left_alone(folder, cell):
    path = folder / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:10] + b"\n"
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    record = read(folder)
    assert record.state == "damaged"
    assert "line 3" in record.damage
    with pytest.raises(RecordError, match="line 3"):
        Writer(folder, cell)
    assert path.read_bytes() == before


def put(folder, number, **changes):
    """Change keys of a line by hand; None deletes one."""
    path = folder / FILE
    lines = path.read_text().splitlines()
    line = json.loads(lines[number - 1]) | changes
    lines[number - 1] = json.dumps({key: value for key, value in line.items() if value is not None})
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("number", "changes", "said"),
    [
        (1, {"identity": None}, "line 1 (its identity is missing)"),
        (1, {"schema": "x"}, 'line 1 (its schema is "x")'),
        (1, {"config": []}, "line 1 (its config is [])"),
        (1, {"event": "epoch"}, "line 1 (a record starts with its cell)"),
        (2, {"step": None}, "line 2 (its step is missing)"),
        (3, {"epoch": None}, "line 3 (its epoch is missing)"),
        (3, {"event": None}, "line 3 (it names no event)"),
        (3, {"seconds": None}, "line 3 (its seconds is missing)"),
        (3, {"step": "10"}, 'line 3 (its step is "10")'),
        (4, {"test/error": "low"}, 'line 4 (its test/error is "low")'),
        (6, {"status": None}, "line 6 (its status is missing)"),
        (6, {"status": "done"}, 'line 6 (its status is "done")'),
        (6, {"time": "noon"}, 'line 6 (its time is "noon")'),
    ],
)
def test_a_line_that_is_json_but_no_event_is_damage_too(folder, cell, number, changes, said):
    writer = Writer(folder, cell)
    writer.finish("finished", 30)
    writer.close()
    put(folder, number, **changes)
    before = (folder / FILE).read_bytes()
    record = read(folder)
    assert record.state == "damaged"
    assert said in record.damage
    with pytest.raises(RecordError):
        Writer(folder, cell)
    assert (folder / FILE).read_bytes() == before


def test_an_empty_object_in_place_of_an_epoch_does_not_make_it_vanish(folder):
    lines = (folder / FILE).read_text().splitlines()
    (folder / FILE).write_text("\n".join([*lines[:2], "{}", *lines[3:]]) + "\n")
    assert "line 3 (it names no event)" in read(folder).damage


def test_what_the_writer_may_write_is_read(folder, cell):
    """Divergence, benchmarks and other events included."""
    writer = Writer(folder, cell)
    writer.start(30, {"hardware": "a CPU", "versions": {"torch": "2"}})
    writer.event("warm_up", step=30, ended=None)
    writer.epoch(4, 40, {"train/loss": math.nan, "images_per_second": 7, "seconds": 2})
    writer.finish("diverged", 40, error="training loss nan")
    record = read(folder)
    assert record.state == "diverged", record.damage
    assert [event["event"] for event in record.events] == ["warm_up"]
    assert math.isnan(record.last["train/loss"])


def test_a_newer_schema_is_refused(folder, cell):
    path = folder / FILE
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99', 1))
    put(folder, 3, epoch="of another kind")
    assert read(folder).state == "damaged"
    assert read(folder).newer
    with pytest.raises(RecordError, match="schema 99"):
        Writer(folder, cell)


def test_a_full_disk_leaves_whole_lines_and_an_error(folder, cell):
    """A limit of the process does what a full disk does: a part of the line is taken, then nothing."""
    path = folder / FILE
    writer = Writer(folder, cell)
    writer.start(30, {})
    whole = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 300, hard))
    try:
        with pytest.raises(RecordError, match="record.jsonl cannot be written .File too large"):
            writer.finish("failed", 30, error="no", traceback="x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == whole
    writer.finish("failed", 30, error="no", traceback="x" * 1000)
    assert read(folder).state == "failed"


def test_the_record_of_another_cell_is_damaged_and_refused(folder):
    other = make_cell("seed=1")
    with Lock(folder):
        Writer(folder, make_cell()).finish("finished", 30)
    foreign = folder.rename(folder.with_name(other.identity))
    found = read(foreign)
    assert found.state == "damaged"
    assert found.damage == f"{foreign / FILE} is the record of cell {folder.name}: move it away"
    with pytest.raises(RecordError, match="is the record of cell"):
        Writer(foreign, other)


def test_states_of_many_records_are_those_of_each_and_results_are_read_once(folder, cell, monkeypatch):
    runs, others = folder.parent, [make_cell(f"seed={n}") for n in (1, 2, 3)]
    for other, status in zip(others, ("finished", "diverged", "failed"), strict=True):
        with Lock(runs / other.identity):
            writer = Writer(runs / other.identity, other)
            writer.epoch(1, 30, {"seconds": 1.0})
            writer.finish(status, 30)
    names = [cell.identity, *(other.identity for other in others), "0123456789ab"]
    expected = {name: read(runs / name).state for name in names}
    assert list(expected.values()) == ["killed", "finished", "diverged", "failed", "planned"]
    assert read_states(runs, names) == expected
    looked_at = []
    monkeypatch.setattr(record, "read", lambda folder: looked_at.append(folder.name) or read(folder))
    assert read_states(runs, names) == expected
    assert looked_at == [names[0], names[3], names[4]]


def test_a_result_that_is_damaged_later_is_damaged(folder, cell):
    Writer(folder, cell).finish("finished", 30)
    assert read_states(folder.parent, [cell.identity]) == {cell.identity: "finished"}
    time.sleep(0.01)
    path = folder / FILE
    before = path.stat()
    path.write_text(path.read_text().replace('"epoch": 2', '"epoch"; 2'))  # as long as before
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # and of the same time
    assert read_states(folder.parent, [cell.identity]) == {cell.identity: "damaged"}


@pytest.mark.parametrize("kept", ["[]", '{"results": [1]}', '{"results": {"NAME": 1}}', "[" * 100_000, "\0"])
def test_an_odd_file_of_results_is_done_without(folder, cell, kept):
    Writer(folder, cell).finish("finished", 30)
    assert read_states(folder.parent, [cell.identity]) == {cell.identity: "finished"}
    (path,) = folder.parent.glob(".results*")
    path.write_text(kept.replace("NAME", cell.identity))
    assert read_states(folder.parent, [cell.identity]) == {cell.identity: "finished"}


def test_a_reader_that_looks_at_the_lock_does_not_refuse_a_writer(tmp_path):
    with Lock(tmp_path):
        pass
    reader = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    threading.Timer(0.2, os.close, [reader]).start()
    with Lock(tmp_path):
        assert is_locked(tmp_path)


def test_a_file_system_without_locks_is_a_sentence_for_writers_and_nothing_for_readers(tmp_path, monkeypatch):
    with Lock(tmp_path):
        pass

    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert not is_locked(tmp_path)
    with pytest.raises(ConfigError, match="cannot lock files"):
        Lock(tmp_path).__enter__()
