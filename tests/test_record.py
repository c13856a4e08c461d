from __future__ import annotations

import fcntl
import json
import os
import threading

import pytest

from ablations.cell import Cell, ConfigError
from ablations.plan import compose
from lightning_module.record import FILE, Busy, Lock, RecordError, Writer, is_locked, read


@pytest.fixture
def cell():
    return Cell(compose([]), (), "ResNet-20 seed 0", 269722, 2535040)


@pytest.fixture
def folder(tmp_path, cell):
    """A record of three epochs, interrupted."""
    with Lock(tmp_path):
        writer = Writer(tmp_path, cell)
        writer.start(0, {"commit": "abc"})
        for epoch in (1, 2, 3):
            writer.epoch(epoch, 10 * epoch, {"test/error": 50.0 / epoch})
        writer.close()
    return tmp_path


def test_states(folder, cell):
    assert read(folder / "nothing").state == "planned"
    assert read(folder).state == "killed"
    with Lock(folder):
        assert read(folder).state == "running"
        Writer(folder, cell).finish("finished", 30)
    assert read(folder).state == "finished"


def test_a_second_process_is_refused(folder):
    with Lock(folder), pytest.raises(Busy):
        Lock(folder).__enter__()


def test_epochs_after_the_checkpoint_are_superseded_by_the_attempt_that_repeats_them(folder, cell):
    writer = Writer(folder, cell)
    writer.start(20, {})
    assert [epoch["epoch"] for epoch in read(folder).epochs] == [1, 2]
    writer.epoch(3, 30, {"test/error": 1.0})
    record = read(folder)
    assert [epoch["test/error"] for epoch in record.epochs] == [50.0, 25.0, 1.0]
    assert len(record.attempts) == 2


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


def test_a_newer_schema_is_refused(folder, cell):
    path = folder / FILE
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99', 1))
    assert read(folder).state == "damaged"
    with pytest.raises(RecordError, match="schema 99"):
        Writer(folder, cell)


def test_the_record_of_another_cell_is_refused(folder):
    other = Cell(compose(["seed=1"]), (), "ResNet-20 seed 1", 269722, 2535040)
    with pytest.raises(RecordError, match="holds the record of cell"):
        Writer(folder, other)


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
