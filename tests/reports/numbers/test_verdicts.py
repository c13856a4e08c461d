"""Claims: every word for the right reason, and no word for the wrong one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reports_of_synthetic_cells import collected

from ablations.study import Claim
from reports.numbers.pairs import compare
from reports.numbers.verdicts import Verdict, judge_claims

RANDOM = np.random.default_rng(7)
A, B = {"model.shortcut": "A"}, {"model.shortcut": "B"}


def differing(differences: Mapping[int, list[float | str | None]], **sides: Any) -> Any:
    """Cells with B - A equal to these values, by depth and seed; a text is the state of the B cell."""
    cells: dict[tuple[int, str, int], float | str | None] = {}
    for depth, values in differences.items():
        for seed, value in enumerate(values):
            shared = 8 + math.sin(seed) - depth / 50
            cells[depth, "A", seed] = shared
            cells[depth, "B", seed] = shared + value if isinstance(value, float) else value
    return collected(cells | sides.get("more", {}))


def one(claim: Claim, differences: Mapping[int, list[Any]], **sides: Any) -> Verdict:
    return judge_claims(differing(differences, **sides), [claim])[0]


BETTER = Claim("B is better", B, A, below=0)
CLOSE = Claim("B is as good", B, A, within=0.5)
WORSE = Claim("B is worse by 0.2", B, A, above=0.2)


@pytest.mark.parametrize(
    ("claim", "values", "word"),
    [
        (BETTER, [-0.5, -0.4, -0.6, -0.5], "supported"),
        (BETTER, [0.5, 0.4, 0.6, 0.5], "contradicted"),
        (BETTER, [-0.5, 0.4, -0.6, 0.5], "undecided"),
        (CLOSE, [-0.1, 0.1, 0.05, -0.02], "supported"),
        (CLOSE, [-0.9, -1.0, -0.95, -1.1], "contradicted"),
        (CLOSE, [-0.4, -0.6, -0.5, -0.5], "undecided"),
        (WORSE, [0.9, 1.0, 0.95, 1.1], "supported"),
        (WORSE, [0.1, 0.05, 0.12, 0.02], "contradicted"),
        (BETTER, [-0.5], "undecided"),
        (BETTER, [-0.5, -0.5, -0.5], "undecided"),
        (BETTER, [None, None], "untested"),
    ],
)
def test_word(claim: Claim, values: list[Any], word: str) -> None:
    found = one(claim, {20: values})
    assert found.word == word
    margin = {"B is better": 0, "B is as good": 0.5, "B is worse by 0.2": 0.2}[claim.text]
    if word == "supported" and claim is BETTER:
        assert found.difference.high < margin


def test_pairs_that_differ_by_the_same_amount_prove_nothing() -> None:
    found = one(BETTER, {20: [-0.5, -0.5]})
    assert found.note == "All 2 pairs differ by the same amount: there is no spread to judge by."
    assert math.isnan(found.difference.low)


def test_pairing_removes_what_seeds_share() -> None:
    """Seeds differ by points, pairs by hundredths: only pairing can see it."""
    made = compare(differing({20: [-0.1, -0.11, -0.09, -0.1]}), B, A, "test/error")
    assert made.pooled.n == 4
    assert made.pooled.sd < 0.02
    assert made.pooled.high < 0


def test_unknown_key_or_level_is_untested() -> None:
    claim = Claim("deeper still", {"model.depth": 1202}, {"model.depth": 20}, above=0)
    assert one(claim, {20: [0.1, 0.2]}).word == "untested"
    claim = Claim("no such key", {"model.wings": 2}, {"model.wings": 0}, above=0)
    assert one(claim, {20: [0.1, 0.2]}).word == "untested"


def test_pooled_over_depths_that_agree() -> None:
    found = one(BETTER, {20: [-0.3, -0.2, -0.25], 56: [-0.2, -0.3, -0.28], 110: [-0.22, -0.27, -0.31]})
    assert (found.word, found.difference.n) == ("supported", 9)
    assert "agree" in found.note


def test_depths_that_disagree_are_not_pooled() -> None:
    """Clearly better at 20, clearly worse at 110: the mean says nothing, and the verdict says so."""
    found = one(BETTER, {20: [-2.0, -2.1, -1.9, -2.0], 110: [0.5, 0.45, 0.55, 0.5]})
    assert found.word == "undecided"
    assert "it must hold in each" in found.note
    assert "depth 110" in found.note


def test_a_claim_that_holds_in_each_of_differing_depths_is_supported() -> None:
    found = one(BETTER, {20: [-2.0, -2.1, -1.9, -2.0], 110: [-0.5, -0.45, -0.55, -0.5]})
    assert found.word == "supported"
    assert "depth 110" in found.note


def test_diverged_cells_block_the_side_that_they_would_help() -> None:
    found = one(BETTER, {20: [-0.5, -0.4, -0.6, -0.5, "diverged"]})
    assert found.word == "undecided"
    assert "1 diverged in the first group" in found.note
    assert found.comparison.outcomes["of"] == 1


def test_diverged_cells_do_not_weaken_what_they_agree_with() -> None:
    assert one(BETTER, {20: [0.5, 0.4, 0.6, 0.5, "diverged"]}).word == "contradicted"


def test_a_method_that_never_trains_is_worse_without_any_number() -> None:
    assert one(BETTER, {20: ["diverged"] * 4}).word == "contradicted"
    assert one(WORSE, {20: ["diverged"] * 4}).word == "supported"
    assert one(CLOSE, {20: ["diverged"] * 4}).word == "contradicted"


def test_open_pairs_are_said() -> None:
    found = one(BETTER, {20: [-0.5, -0.4, -0.6, "killed", None]})
    assert found.comparison.outcomes["open"] == 2
    assert "Pairs still open: 2." in found.note


def test_groups_without_common_seeds_are_compared_by_their_means() -> None:
    cells: dict[Any, Any] = {(20, "A", seed): 8 + 0.1 * seed for seed in range(4)}
    cells |= {(20, "B", seed): 5 + 0.1 * seed for seed in range(10, 14)}
    found = judge_claims(collected(cells), [BETTER])[0]
    assert found.word == "supported"
    assert "Not paired" in found.note


def test_holm_makes_many_claims_stricter() -> None:
    values = [-0.5, -0.1, -0.45, -0.25]
    assert one(BETTER, {20: values}).word == "supported"
    many = judge_claims(differing({20: values}), [BETTER] * 10)
    assert {verdict.word for verdict in many} == {"undecided"}
    assert many[0].difference.level == pytest.approx(0.995)


def test_metric_that_nobody_logged_is_untested() -> None:
    claim = Claim("top-5", B, A, below=0, metric="test/top5_error")
    assert one(claim, {20: [-0.5, -0.4, -0.6]}).word == "untested"


def test_size_of_the_whole_procedure() -> None:
    """With no difference between A and B, a directional claim is decided in at most 5 % of studies."""
    base = differing({20: [0.0] * 5, 56: [0.0] * 5})
    decided = 0
    for _ in range(200):
        noise = pd.Series(RANDOM.normal(8, 0.3, len(base.cells)), index=base.cells.index)
        cells = base.cells.assign(**{"test/error": noise})
        decided += judge_claims(dataclasses.replace(base, cells=cells), [BETTER])[0].word != "undecided"
    assert decided / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
