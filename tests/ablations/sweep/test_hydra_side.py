"""From the command line to the launcher."""

from __future__ import annotations

import subprocess
import sys

import pytest
from small import ROOT

COUNTED = """
import collections, runpy, sys
from ablations.sweep import here, plan
calls = collections.Counter()
def counted(function):
    def call(*arguments):
        calls[function.__name__] += 1
        return function(*arguments)
    return call
plan.compose, plan.make_cell = counted(plan.compose), counted(plan.make_cell)
here.run_sweep = lambda sweep, jobs=1: print(len(sweep.cells), sweep.manifest.command)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(calls["compose"], calls["make_cell"])
"""


@pytest.mark.parametrize(
    ("overrides", "cells"),
    [(["model.depth=8"], 1), (["-m", "model.depth=20,56", "seed=0"], 2), (["ablation=warm_up", "seed=0"], 9)],
)
def test_a_command_composes_each_of_its_cells_once(tmp_path, overrides, cells):
    command = [sys.executable, "-c", COUNTED, str(ROOT / "run.py"), *overrides]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    run, calls = done.stdout.splitlines()
    assert run.startswith(f"{cells} python")
    assert run.endswith(" ".join(overrides))
    assert calls == f"{cells} {cells}"
