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
import random
from ablations.study import Study, grid
from levels_of_mine import SEEDS
STUDY = Study("Why?", "ours", ["data=digits", "recipe=quick"], grid(seed=SEEDS), rows="seed")
"""
LOAD = """
from pathlib import Path
from ablations.sweep import studies
from slurm.snapshot import snapshot
print(studies.load("mine").levels("seed"), studies.load("dotted").levels("seed"))
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
    (lab / "random.py").write_text("not that of Python, which was imported\n")
    (lab / "package_of_mine" / "studies").mkdir(parents=True)
    (lab / "package_of_mine" / "studies" / "dotted.py").write_text(STUDY.replace("levels_of", ".levels_of"))
    (lab / "package_of_mine" / "studies" / "levels_of_mine.py").write_text("SEEDS = [3]\n")
    monkeypatch.chdir(lab)
    overrides = ("data=digits", "recipe=quick")
    cell = make_cell(compose(overrides), overrides)
    cell = replace(cell, config={**cell.config, "study": "mine", "studies": str(lab)})
    dotted = replace(cell, config={**cell.config, "study": "dotted", "studies": "package_of_mine.studies"})
    code = snapshot(runs, [cell, dotted])
    assert not (code / "random.py").exists()
    (lab / "mine.py").unlink()
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=code, env={**os.environ, "PYTHONPATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["(0, 7) (3,)", f"../../../slurm/code/{code.name}"], done.stderr
