"""The table that one follows a sweep by, on a laptop and on a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ablations.sweep.live import CellStatus, seconds_left, table
from lightning_module.cell.record import Record

EPOCHS = tuple({"epoch": n, "step": 10 * n, "seconds": 5.0, "test/error": 9.0} for n in (1, 2))
RECORD = Record(Path("runs/0123"), {"config": {"recipe.steps": 100}}, epochs=EPOCHS, state="running")


def test_table_and_time_left() -> None:
    assert seconds_left(RECORD) == pytest.approx(40)
    assert seconds_left(Record(Path("runs/4567"), {})) is None
    text = table([CellStatus("0123", "ResNet-8 seed 0", "running", "", RECORD)])
    assert text.splitlines()[0].split() == ["cell", "state", "epoch", "error", "left"]
    assert text.splitlines()[1].split() == ["ResNet-8", "seed", "0", "running", "2", "9.00", "%", "1", "min"]
    assert "1 cell: 1 running" in text


def test_what_moves_comes_first_and_the_first_failure_is_told() -> None:
    broken = replace(RECORD, status={"traceback": "Traceback:\nKeyError: x"}, state="failed")
    cells = [
        CellStatus("3", "c", "finished", "", RECORD, job_id="12_3", node="node1"),
        CellStatus("2", "b", "failed", "KeyError: x", broken, log=Path("runs/2/output.log")),
        CellStatus("1", "a", "failed", "KeyError: x", broken, log=Path("runs/1/output.log")),
        CellStatus("0", "d", "running", "", RECORD),
    ]
    lines = table(cells).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["d", "a", "b", "c"]
    assert lines[6] == "4 cells: 1 running, 2 failed, 1 finished"
    assert lines[8] == "First failure, a (log: runs/1/output.log):"
    assert lines[-1] == "    KeyError: x"
