"""The index of reports shows every sweep of a study, and says which are the study's own cells."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from synthetic import make_cell, manifest, train

from reports.__main__ import main

OTHER = (
    {"key": "data.name", "study": ["cifar10"], "here": ["digits"]},
    {"key": "recipe.steps", "study": [64000], "here": [400]},
)
SEED = ({"key": "seed", "study": [0], "here": [7]},)


def test_a_later_run_on_other_data_does_not_hide_the_study(tmp_path):
    runs: Path = tmp_path / "runs"
    asked: list[tuple[str, dict[str, Any]]] = [
        ("depth", {}),
        ("depth-seed_7", {"departures": SEED}),
        ("depth-depth_20", {"narrowed": ("model.depth=20",)}),
        ("depth-data_digits", {"departures": OTHER}),
    ]
    for age, (name, more) in enumerate(asked):
        cells = [make_cell(depth) for depth in (20, 32, 44)[: 3 - age % 3]]
        manifest(runs, name, cells, ("model.depth",), study="depth", **more)
        os.utime(runs / "sweeps" / f"{name}.json", (1e9 + age, 1e9 + age))
    for depth in (20, 32, 44):
        train(runs, make_cell(depth), epochs=3)
    assert main(["--all", "--runs", str(runs), "--out", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "index.md").read_text().splitlines()
    rows = {match[1]: line for line in lines if (match := re.match(r"\| \[[^\]]+\]\(([^/]+)/", line))}
    assert list(rows) == ["depth", "depth-seed_7", "depth-depth_20", "depth-data_digits"]
    assert "| the study's |" in rows["depth"] and "| the study's |" in rows["depth-seed_7"]
    assert "| the study's (a part) |" in rows["depth-depth_20"]
    assert "| **not the study's:** other data and recipe |" in rows["depth-data_digits"]
    assert not any("not started" in line and "`depth`" in line for line in lines)
