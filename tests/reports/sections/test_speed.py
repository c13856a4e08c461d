"""Benchmarks are reported as speeds, and several devices as efficiency."""

from __future__ import annotations

import csv
from pathlib import Path
from unittest import mock

import pytest
from synthetic import make_cell, manifest

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from reports import sources
from reports.__main__ import main
from reports.numbers.join import collect
from reports.sections import device_scaling as scaling

SPEEDS = {(1, 1, 128): 100.0, (2, 1, 128): 150.0, (2, 1, 256): 180.0, (2, 2, 128): 200.0, (2, 2, 512): 320.0}
"""(devices, nodes, batch) -> images/s of seed 0; seed 1 has a tenth more of everything."""


def cell(devices: int, nodes: int, batch: int, seed: int, **more: object) -> Cell:
    made = make_cell(
        seed=seed, recipe__batch_size=batch, trainer__devices=devices, trainer__nodes=nodes, **more
    )
    return Cell(
        {**made.config, "mode": "benchmark"}, made.overrides, f"{devices} {nodes} {batch} {seed}", 1, 1
    )


def measure(runs: Path, one: Cell, images: float, steady: bool = True) -> None:
    folder = runs / one.identity
    folder.mkdir(parents=True)
    with mock.patch("os.fsync"):
        writer = record.Writer(folder, one)
        writer.start(0, {"hardware": "4 x Example GPU", "devices": 2})
        step = 1000 * one.config["recipe"]["batch_size"] / images
        parts = {f"{name}_ms": step / 4 for name in ("data", "forward", "backward", "optimizer")}
        speed = {"images_per_second": images, "step_ms": step, "step_ms_p95": 2 * step, "share_of_peak": 0.25}
        writer.epoch(
            1, 50, {**speed, **parts, "communication_ms": 0.5, "peak_memory": 2.0**30, "seconds": 30.0}
        )
        floors = {"arithmetic": step / 4000, "copy": step / 2000, "launches": None}
        writer.event("benchmark", step=50, steady=steady, floor_seconds=floors)
        writer.finish("finished", 50)
        writer.close()


def swept(runs: Path, missing: tuple[int, int, int, int] | None = None, **more: object) -> list[Cell]:
    cells = []
    for (devices, nodes, batch), images in SPEEDS.items():
        for seed in range(2):
            one = cell(devices, nodes, batch, seed, **more)
            cells.append(one)
            if (devices, nodes, batch, seed) != missing:
                measure(runs, one, images * (1 + seed / 10), steady=devices == 2)
    return cells


FACTORS = ("trainer.devices", "recipe.batch_size", "trainer.nodes", "seed")


def points(runs: Path, cells: list[Cell], factors: tuple[str, ...] = FACTORS) -> list[scaling.ScalingPoint]:
    made = manifest(runs, "scaling", cells, factors)
    return scaling.scaling_points(collect(made, None, sources.load("records", runs, made)))


def test_efficiency_is_the_part_of_the_ideal_paired_by_seed(tmp_path):
    found = {(p.line.kind, p.processes): p for p in points(tmp_path, swept(tmp_path))}
    assert set(found) == {(kind, n) for kind in ("strong", "weak") for n in (1, 2, 4)}
    assert found["strong", 2].efficiency.mean == pytest.approx(75)
    assert found["weak", 2].efficiency.mean == pytest.approx(90)
    assert found["strong", 4].efficiency.mean == pytest.approx(50)
    assert found["weak", 4].speed_up.mean == pytest.approx(3.2)
    # In pairs: seeds differ by a tenth, their ratios not at all.
    assert found["weak", 4].efficiency.sd == pytest.approx(0, abs=1e-9)
    assert (found["weak", 4].efficiency.n, found["weak", 4].batch, found["weak", 4].nodes) == (2, 512, 2)


def test_a_missing_cell_takes_its_pair_with_it_and_is_seen(tmp_path):
    found = {(p.line.kind, p.processes): p for p in points(tmp_path, swept(tmp_path, missing=(2, 1, 256, 1)))}
    assert (found["weak", 2].efficiency.n, found["weak", 2].efficiency.planned) == (1, 2)
    assert found["strong", 2].efficiency.n == 2


def test_other_factors_have_lines_of_their_own(tmp_path):
    cells = swept(tmp_path) + swept(tmp_path, trainer__compile=True)
    found = points(tmp_path, cells, (*FACTORS, "trainer.compile"))
    assert {p.line.rest for p in found} == {"compile none", "compile yes"}
    assert len(found) == 12


def report(tmp_path: Path, cells: list[Cell], factors: tuple[str, ...]) -> tuple[str, Path]:
    manifest(tmp_path / "runs", "speeds", cells, factors, command="python run.py -m mode=benchmark")
    out = tmp_path / "out"
    assert main(["speeds", "--runs", str(tmp_path / "runs"), "--out", str(out)]) == 0
    return (out / "speeds" / "report.md").read_text(), out / "speeds"


def test_the_report_of_scaling(tmp_path):
    text, folder = report(tmp_path, swept(tmp_path / "runs"), FACTORS)
    assert "strong scaling (2 x 2) keeps **50 %**" in text
    assert "weak scaling (2 x 2) keeps **80 %**" in text
    assert (folder / "figures" / "scaling.svg").exists()
    with open(folder / "tables" / "scaling.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["devices"] for row in rows] == ["1", "2", "4 (2 x 2)"] * 2
    assert float(rows[1]["efficiency, % mean"]) == pytest.approx(75)


def test_the_report_of_a_benchmark_speaks_of_speed_and_not_of_error(tmp_path):
    cells = [cell(1, 1, 128, seed, trainer__channels_last=last) for last in (True, False) for seed in (0, 1)]
    for one, images in zip(cells, (200.0, 220.0, 100.0), strict=False):  # the fourth never ran
        measure(tmp_path / "runs", one, images)
    text, folder = report(tmp_path, cells, ("trainer.channels_last", "seed"))
    assert text.startswith("# Speed by channels last")
    assert "2.10 times as many as the slowest" in text
    assert "error" not in text.lower()
    assert "3 of 4 cells finished, 1 planned" in text
    with open(folder / "tables" / "speed.csv") as file:
        fast, _ = csv.DictReader(file)
    assert (fast["runs"], fast["steady"]) == ("2", "2 of 2")
    assert float(fast["images/s mean"]) == pytest.approx(210)
    assert float(fast["step / floor"]) == pytest.approx(2)
    assert float(fast["of the peak, %"]) == pytest.approx(25)
    assert "mJ per image" not in fast  # nothing was measured
    assert (folder / "figures" / "images_per_second_by_channels_last.svg").exists()
    assert not list((folder / "figures").glob("*error*"))


def test_what_was_not_steady_is_a_threat(tmp_path):
    text, _ = report(tmp_path, swept(tmp_path / "runs"), FACTORS)
    assert "2 of 10 benchmarks had not become steady" in text


def test_nothing_measured_yet(tmp_path):
    (tmp_path / "runs").mkdir()
    cells = [cell(devices, 1, 128, seed) for devices in (1, 2) for seed in (0, 1)]
    text, _ = report(tmp_path, cells, FACTORS)
    assert "No cell has finished." in text
    assert "DRAFT" in text
