"""The copy of the program that jobs run."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.sweep.compose import compose, make_cell
from slurm.snapshot import snapshot

STUDY = """
from ablations.study import Study, grid
from levels_of_mine import SEEDS
STUDY = Study("Why?", "ours", ["data=digits", "recipe=quick"], grid(seed=SEEDS), rows="seed")
"""
LOAD = """
from pathlib import Path
from ablations.sweep import studies
from slurm.snapshot import snapshot
print(studies.load("mine").levels("seed"))
print(snapshot(Path("../../.."), []))
"""


def test_a_job_finds_a_study_of_ones_own_and_its_own_snapshot_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the folder it came from is gone: a controller decides in a job, and submits from there."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    lab, runs = tmp_path / "lab", tmp_path / "runs"
    lab.mkdir()
    (lab / "mine.py").write_text(STUDY)
    (lab / "levels_of_mine.py").write_text("SEEDS = [0, 7]\n")
    overrides = ("data=digits", "recipe=quick")
    cell = make_cell(compose(overrides), overrides)
    cell = replace(cell, config={**cell.config, "study": "mine", "studies": str(lab)})
    code = snapshot(runs, [cell])
    (lab / "mine.py").unlink()
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=code, env={**os.environ, "PYTHONPATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["(0, 7)", f"../../../slurm/code/{code.name}"], done.stderr
