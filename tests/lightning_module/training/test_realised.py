"""The learning rates that a run really had."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from small import ROOT, SMALL

from ablations.sweep.compose import compose, make_cell
from lightning_module.cell import record
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import identity
from lightning_module.train import run
from lightning_module.training.interruption import Interruption
from lightning_module.training.realised import departure, used

WARM_UP = (
    *("recipe.warm_up=train_error", "recipe.warm_up_from_depth=0", "recipe.warm_up_error=1"),
    *("recipe.learning_rate=0.05", "recipe.steps=60", "recipe.drops=[30,50]", "trainer=cpu"),
)
NEVER = (
    "the warm-up never ended, because the training error stayed at 1 % or more: the learning rate was 0.01 to step 60, "
    "where the recipe means 0.01, 0.05, 0.005, 0.0005"
)


@pytest.mark.parametrize(
    ("ends", "ranges", "departs"),
    [
        (400, [(0, 400, 0.01), (400, 32000, 0.1), (32000, 48000, 0.01), (48000, 64000, 0.001)], False),
        (None, [(0, 64000, 0.01)], True),
        (40000, [(0, 48000, 0.01), (48000, 64000, 0.001)], True),
    ],
)
def test_the_rates_of_a_warm_up_that_the_error_ends(ends, ranges, departs):
    recipe = parse_config(compose(["recipe=he2015_cifar", "model.depth=110"])).recipe
    found = used(recipe, 64000, ends)
    assert [each[:2] for each in found] == [each[:2] for each in ranges]
    assert [each[2] for each in found] == pytest.approx([each[2] for each in ranges])
    assert bool(departure(recipe, 110, ends)) == departs
    assert used(recipe, 300, ends) == [(0, 300, 0.01)]


def test_a_warm_up_without_a_limit_is_the_cell_that_it_was():
    at = {limit: identity(compose([f"recipe.warm_up_limit={limit}"])) for limit in ("null", "400", "401")}
    assert len(set(at.values())) == 3
    assert at["null"] == identity(compose([]))
    assert "recipe.warm_up_limit" not in make_cell(compose([]), ()).canonical


@pytest.mark.parametrize("cut", [0, 1])
def test_the_limit_ends_it(tmp_path, cut):
    """Between two looks at the error, which stays high; also in a run that was interrupted."""
    texts = (*SMALL, *WARM_UP, "recipe.warm_up_limit=20", f"runs={tmp_path}")
    cell = make_cell(compose(texts), texts)
    if cut:
        told = Interruption()
        told.received = told.signals[0]
        assert run(cell, told).state == "killed"
    found = run(cell, Interruption())
    assert found.state == "finished"
    assert len(found.attempts) == 1 + cut
    (rates,) = [event for event in found.events if event["event"] == "learning_rates"]
    assert rates["departure"] == ""
    assert [end for _, end, _ in rates["ranges"]] == [20, 30, 50, 60]
    assert [rate for *_, rate in rates["ranges"]] == pytest.approx([0.01, 0.05, 0.005, 0.0005])
    assert found.attempts[0]["realised"]["learning_rates"] == [[0, 0.01]], (
        "the others were not certain at its start"
    )
    assert next(event for event in found.events if event["event"] == "warm_up")["ended"] == 20


def test_a_warm_up_that_never_ends_says_so_wherever_its_number_stands(door, tmp_path):
    """In the process of a pool, whose warnings come to the terminal."""
    done = door("-m", *SMALL, *WARM_UP, "hydra.launcher.jobs=2")
    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == [f"warning: ResNet-8 seed 0: {NEVER}; see recipe.warm_up_limit"]
    assert re.search(r"ResNet-8 seed 0 +finished \* ", done.stdout)
    assert f"* ResNet-8 seed 0: {NEVER}" in done.stdout.splitlines()
    (found,) = record.read_all(tmp_path / "runs").values()
    assert [event["ranges"] for event in found.events if event["event"] == "learning_rates"] == [
        [[0, 60, 0.01]]
    ]
    subprocess.run(
        [sys.executable, "-m", "reports"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    text = next(tmp_path.glob("results/*/report.md")).read_text("utf-8")
    assert re.search(r"\| \d+\.\d\d§ \|", text)
    assert "§ not at the recipe's learning rates" in text
    assert f"1 cell was not trained at the recipe's learning rates. ResNet-8 seed 0: {NEVER}." in text
    assert "the learning rate drops" not in text
    assert "lr drop" not in next(tmp_path.glob("results/*/figures/learning_curves.svg")).read_text("utf-8")
