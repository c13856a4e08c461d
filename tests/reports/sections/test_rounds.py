"""A sweep that was settled: what it left out is no hole, and its rounds are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic import make_cell, manifest, train

from ablations.sweep.rounds import Round, Step
from reports.__main__ import main

STEP = Step("ResNet-56 is better", "supported", "settled", "supported after 2 pairs")


def report(folder: Path, *, end: str) -> str:
    cells = [make_cell(depth, seed=seed) for depth in (20, 56) for seed in range(3)]
    ran = [cell for cell in cells if cell.config["seed"] < 2]
    for cell in ran:
        train(folder, cell)
    first = Round(1, tuple(cell.identity for cell in ran), (STEP,), 4.0, 0.0, 6.0)
    last = Round(2, (), (STEP,), 0.0, 4.0, 6.0, None, end)
    rounds: tuple[dict[str, Any], ...] = (first.to_json(), *[last.to_json()] * bool(end))
    manifest(folder, "settled", cells, ["model.depth", "seed"], rounds=rounds)
    assert main(["settled", "--runs", str(folder), "--out", str(folder / "out")]) == 0
    return (folder / "out/settled/report.md").read_text()


def test_what_was_left_out_is_not_needed_and_no_draft(tmp_path):
    text = report(tmp_path, end="1 of 1 claim settled")
    assert "4 of 6 cells finished, 2 not needed" in text
    assert "| not needed | left out: settle ended after round 1 |" in text
    assert (
        "Run in 1 round until no claim was open (settle), in 4.0 of the 6.0 device-hours that all seeds would take"
        in text
    )
    assert "Verdicts hold at any look" in text and "What is left of it" not in text
    assert "Rounds of settle" in text and "| 1 | 0 | 4 | 4.000 | 0.000 |" in text
    assert "†" not in text  # no number is still to come
    assert "DRAFT" not in text.upper()


def test_before_the_end_what_is_missing_is_planned(tmp_path):
    text = report(tmp_path, end="")
    assert "2 planned" in text and "not needed" not in text and "until no claim was open" not in text
    assert "†" in text and "DRAFT" in text.upper()


def test_what_somebody_ran_afterwards_is_no_longer_left_out(tmp_path):
    report(tmp_path, end="1 of 1 claim settled")
    for depth in (20, 56):
        train(tmp_path, make_cell(depth, seed=2))
    assert main(["settled", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out/settled/report.md").read_text()
    assert "6 of 6 cells finished" in text and "until no claim was open" not in text


@pytest.mark.parametrize("end", ["", "1 of 1 claim settled"])
def test_every_report_of_a_settled_sweep_says_that_seeds_were_chosen(tmp_path, end):
    assert "Seeds were added where claims were undecided" in report(tmp_path, end=end)
