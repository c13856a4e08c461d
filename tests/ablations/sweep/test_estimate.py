"""What a sweep was expected to take is written down before it runs, and stays."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ablations.sweep import manifest
from ablations.sweep.plan import announce, sweep
from ablations.sweep.request import request
from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from reports.__main__ import main


def train(runs: Path, cell: Cell, seconds: float, devices: int = 1) -> None:
    """200 steps that took so long."""
    folder = runs / cell.identity
    folder.mkdir(parents=True)
    writer = record.Writer(folder, cell)
    writer.start(0, {"hardware": "1 x Example GPU", "devices": devices, "job": f"job {cell.config['seed']}"})
    writer.epoch(1, 200, {"seconds": seconds, "test/error": 9.0, "images_per_second": 100.0})
    writer.finish("finished", 200)
    writer.close()


def test_a_cell_keeps_what_was_expected_before_it_ran(tmp_path):
    made = sweep(request(["seed=0,1", "recipe.steps=200", f"runs={tmp_path}"]), [])
    path, (first, second) = announce(made, "gpu"), made.cells
    before = manifest.read(path)
    assert set(before.expected) == {first.identity, second.identity}
    assert "nothing measured yet" in before.expected_from
    train(tmp_path, first, 3600.0)
    again = manifest.read(announce(made, "gpu"))
    assert again.expected == before.expected
    more = sweep(request(["seed=2", "recipe.steps=200", f"runs={tmp_path}"]), [])
    later = manifest.read(announce(more, "gpu"))
    assert later.expected == pytest.approx({more.cells[0].identity: 1.0})
    assert "Example GPU" in later.expected_from


def test_what_ran_before_anybody_asked_has_no_expectation(tmp_path):
    made = sweep(request(["recipe.steps=200", f"runs={tmp_path}"]), [])
    train(tmp_path, made.cells[0], 60.0)
    assert manifest.read(announce(made, "gpu")).expected == {}


def test_the_report_sets_the_time_taken_beside_the_plan(tmp_path):
    made = sweep(request(["seed=0,1,2", "recipe.steps=200", "trainer.devices=2", f"runs={tmp_path}"]), [])
    planned = manifest.read(announce(made, "gpu"))
    hour = planned.expected[made.cells[0].identity]
    for cell, times in zip(made.cells, (1.0, 3.0), strict=False):  # the third never ran
        train(tmp_path, cell, times * hour * 3600 / 2, devices=2)
    out = tmp_path / "out"
    assert main([planned.name, "--runs", str(tmp_path), "--out", str(out)]) == 0
    with open(out / planned.name / "tables" / "cost.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["cells run"] == "2"
    assert float(rows[-1]["took / planned"]) == pytest.approx(2)
    assert float(rows[-1]["device-seconds"]) == pytest.approx(4 * hour * 3600)
    assert float(rows[-1]["planned, device-seconds"]) == pytest.approx(2 * hour * 3600)
