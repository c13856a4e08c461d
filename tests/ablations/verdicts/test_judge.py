"""Claims: every word for the right reason, and no word for the wrong one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from reports_of_synthetic_cells import collected

from ablations.study import Claim
from ablations.verdicts.judge import Verdict, judge, judge_claims
from ablations.verdicts.pairs import Pairs, compare, lone_levels
from ablations.verdicts.results import NOT_NEEDED
from reports.numbers.join import Collected

A, B = {"model.shortcut": "A"}, {"model.shortcut": "B"}


def differing(differences: Mapping[int, list[float | str | None]], **sides: Any) -> Collected:
    """Cells with B - A equal to these values, by depth and seed; a text is the state of the B cell."""
    cells: dict[tuple[int, str, int], float | str | None] = {}
    for depth, values in differences.items():
        for seed, value in enumerate(values):
            shared = 8 + math.sin(seed) - depth / 50
            cells[depth, "A", seed] = shared
            cells[depth, "B", seed] = shared + value if isinstance(value, float) else value
    return collected(cells | sides.get("more", {}))


def judged(c: Collected, claims: list[Claim]) -> list[Verdict]:
    return judge_claims(list(c.results.values()), c.studied, claims)


def one(claim: Claim, differences: Mapping[int, list[Any]], **sides: Any) -> Verdict:
    return judged(differing(differences, **sides), [claim])[0]


BETTER = Claim("B is better", B, A, below=0)
CLOSE = Claim("B is as good", B, A, within=0.5)
WORSE = Claim("B is worse by 0.2", B, A, above=0.2)


@pytest.mark.parametrize(
    ("claim", "values", "word"),
    [
        (BETTER, [-0.5, -0.4, -0.6, -0.5], "supported"),
        (BETTER, [0.5, 0.4, 0.6, 0.5], "contradicted"),
        (BETTER, [-0.5, 0.4, -0.6, 0.5], "undecided"),
        (CLOSE, [-0.1, 0.1, 0.05, -0.02, 0.03, -0.06], "supported"),
        (CLOSE, [-0.1, 0.1, 0.05, -0.02, 0.03], "undecided"),
        (CLOSE, [-0.9, -1.0, -0.95, -1.1], "contradicted"),
        (CLOSE, [-0.4, -0.6, -0.5, -0.5], "undecided"),
        (WORSE, [0.9, 1.0, 0.95, 1.1], "supported"),
        (WORSE, [0.1, 0.05, 0.12, 0.02], "smaller than claimed"),
        (WORSE, [0.04, -0.05, 0.02, 0.02], "smaller than claimed"),
        (WORSE, [-0.1, -0.05, -0.12, -0.09], "contradicted"),
        (WORSE, [0.1, 0.3, 0.2, 0.2], "undecided"),
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
    assert found.word == "undecided"
    assert math.isnan(found.difference.low)


def test_pairs_that_differ_by_the_same_amount_have_the_spread_of_their_images() -> None:
    """Each seed gains two of 100 images, other ones each time."""
    than = {seed: np.ones(100, bool) for seed in range(5)}
    of = {seed: np.ones(100, bool) for seed in range(5)}
    for seed in range(5):
        than[seed][2 * seed : 2 * seed + 2] = False
    verdict = one_of_images(BETTER, of, than)
    assert verdict.difference.mean == pytest.approx(-2)
    assert 0 < verdict.difference.sd < 2
    assert verdict.word == "supported"


def test_new_images_are_judged_too() -> None:
    """Every seed gains the same three of 100 images: sure on these, not on others."""
    than = {seed: np.arange(100) >= 3 for seed in range(5)}
    of = {seed: np.ones(100, bool) for seed in range(5)}
    for seed in range(5):
        of[seed][50 + seed], than[seed][60 + seed] = False, False
    than[0][70] = False
    verdict = one_of_images(BETTER, of, than)
    assert (verdict.word, verdict.on_new_images) == ("supported", "undecided")
    assert verdict.new_images.low < verdict.difference.low
    assert verdict.new_images.high > 0 > verdict.difference.high


def one_of_images(claim: Claim, of: Mapping[int, Any], than: Mapping[int, Any]) -> Verdict:
    """The verdict about runs that got these images right, by seed."""
    errors = [{seed: 100.0 * (1 - right.mean()) for seed, right in side.items()} for side in (of, than)]
    images = np.array([100.0 * (than[seed].astype(int) - right) for seed, right in of.items()])
    return judge([claim], [[Pairs("", *errors, len(of), images=images)]])[0]  # type: ignore[misc]


def test_pairing_removes_what_seeds_share() -> None:
    """Seeds differ by points, pairs by hundredths: only pairing can see it."""
    c = differing({20: [-0.1, -0.11, -0.09, -0.1]})
    (made,) = compare(list(c.results.values()), c.studied, B, A, "test/error")
    assert made.difference.n == 4
    assert made.difference.sd < 0.02
    assert made.difference.high < 0


def test_unknown_key_or_level_is_untested() -> None:
    claim = Claim("deeper still", {"model.depth": 1202}, {"model.depth": 20}, above=0)
    assert one(claim, {20: [0.1, 0.2]}).word == "untested"
    claim = Claim("no such key", {"model.wings": 2}, {"model.wings": 0}, above=0)
    assert one(claim, {20: [0.1, 0.2]}).word == "untested"


def test_depths_are_no_replicates() -> None:
    """One seed at each of three depths that agree: nothing is shown. Enough seeds at each: it is."""
    assert one(BETTER, {20: [-0.31], 56: [-0.3], 110: [-0.29]}).word == "undecided"
    found = one(BETTER, {20: [-0.3, -0.2, -0.25], 56: [-0.2, -0.3, -0.28], 110: [-0.22, -0.27, -0.31]})
    assert (found.word, len(found.every), found.difference.n) == ("supported", 3, 3)


def test_a_claim_holds_at_each_depth_or_not_at_all() -> None:
    """Clearly better at 20, clearly worse at 110: contradicted, by the depth that is shown."""
    found = one(BETTER, {20: [-2.0, -2.1, -1.9, -2.0], 110: [0.5, 0.45, 0.55, 0.5]})
    assert found.shown
    assert (found.word, found.shown.pairs.at) == ("contradicted", "depth 110")
    assert found.difference.mean == pytest.approx(0.5)


def test_the_least_clear_depth_decides() -> None:
    found = one(BETTER, {20: [-2.0, -2.1, -1.9, -2.0], 110: [-0.5, -0.45, -0.55, -0.5]})
    assert found.shown
    assert (found.word, found.shown.pairs.at) == ("supported", "depth 110")
    found = one(BETTER, {20: [-2.0, -2.1, -1.9, -2.0], 110: [-0.5, 0.45, -0.55, 0.5]})
    assert found.shown
    assert (found.word, found.shown.pairs.at) == ("undecided", "depth 110")


def test_a_depth_without_data_leaves_it_undecided() -> None:
    found = one(BETTER, {20: [-2.0, -2.1, -1.9, -2.0], 110: [None] * 4})
    assert found.word == "undecided"
    assert [each.pairs.n for each in found.every] == [4, 0]
    assert one(BETTER, {20: [2.0, 2.1, 1.9, 2.0], 110: [None] * 4}).word == "undecided"


def test_the_mean_over_depths_takes_them_as_a_sample() -> None:
    """Depths that differ by more than their seeds: the spread is that of depths."""
    mean = dataclasses.replace(BETTER, over="mean")
    depths = {20: [-0.3, -0.2, -0.25], 56: [-0.8, -0.7, -0.75], 110: [-0.22, -0.27, -0.31]}
    found = one(mean, depths)
    assert (found.word, len(found.every), found.difference.n, found.difference.df) == ("undecided", 1, 3, 2)
    assert found.difference.mean == pytest.approx(np.mean(list(depths.values())))
    alike = {depth: [value - 0.01 * depth / 110 for value in depths[20]] for depth in (20, 32, 44, 56, 110)}
    assert one(mean, alike).word == "supported"
    assert one(mean, {depth: values[:1] for depth, values in alike.items()}).word == "undecided"
    assert one(mean, {110: alike[110] * 2}).word == "undecided", "one level is no sample"


def test_the_mean_over_depths_needs_seeds_at_all_of_them() -> None:
    mean = dataclasses.replace(BETTER, over="mean")
    lost = {20: [-0.3, -0.2, -0.25], 56: [-0.3, -0.2, "diverged"], 110: [-0.22, -0.27, -0.31]}
    assert one(mean, lost).word == "undecided"
    assert one(mean, {20: [-0.3, -0.2, -0.25], 56: [None, None, None]}).word == "undecided"


def test_a_diverged_run_is_the_worst_of_its_ranks() -> None:
    found = one(BETTER, {20: [-0.5, -0.4, -0.6, -0.5, "diverged"]})
    assert found.shown
    assert (found.word, found.shown.pairs.diverged, found.shown.by_ranks) == ("undecided", (1, 0), True)
    assert math.isnan(found.difference.low)
    assert found.difference.n == 4
    assert one(BETTER, {20: [3.5, 3.4, 3.6, 3.5, "diverged"]}).word == "contradicted"


def test_a_few_diverged_runs_decide_nothing() -> None:
    """Two of two, of thirty that were asked for."""
    for claim in (BETTER, WORSE, CLOSE):
        assert one(claim, {20: ["diverged"] * 2 + [None] * 28}).word == "undecided"


def test_a_method_that_never_trains_is_worse_by_the_rank_of_its_runs() -> None:
    """Five against five: p = 2/252. In a family of ten that is not enough."""
    assert one(BETTER, {20: ["diverged"] * 5}).word == "contradicted"
    assert one(WORSE, {20: ["diverged"] * 5}).word == "supported"
    assert one(CLOSE, {20: ["diverged"] * 5}).word == "contradicted"
    assert one(BETTER, {20: ["diverged"] * 3}).word == "undecided"
    many = judged(differing({20: ["diverged"] * 5}), [BETTER] * 10)
    assert {verdict.word for verdict in many} == {"undecided"}


def test_nothing_is_as_good_where_runs_diverge() -> None:
    lost = {(20, side, seed): "diverged" for side in "AB" for seed in (6, 7)}
    found = one(CLOSE, {20: [-0.1, 0.1, 0.05, -0.02, 0.03, -0.06]}, more=lost)
    assert (found.word, found.shown and found.shown.pairs.diverged) == ("undecided", (2, 2))


FAILS = Claim("B fails", B, A, fails=20)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (["diverged"] * 5, "supported"),
        (["diverged"] * 3 + [80.0, 80.0], "supported"),
        ([80.0, 81.0, 79.0], "supported"),
        ([5.0, 5.5, 4.5], "contradicted"),  # worse by 5 points, and it trains
        ([5.0, 50.0, 4.5], "undecided"),
        (["diverged", 0.1, 0.1, 0.1, 0.1], "undecided"),
        (["diverged"] * 3, "supported"),
        (["diverged", "diverged", 0.1], "undecided"),
        ([0.1] * 9 + [30.0], "undecided"),  # a run of ten fails
    ],
)
def test_to_fail_is_an_error_above_twenty_percent(values: list[Any], word: str) -> None:
    found = one(FAILS, {20: values})
    assert found.word == word


def test_two_groups_that_fail_alike_show_nothing() -> None:
    """The claim is that one fails where the other does not."""
    more = {(20, "A", seed): 89.0 + seed / 10 for seed in range(5)}
    assert one(FAILS, {20: [80.0, 81.0, 79.0, 80.5, 80.2]}, more=more).word == "undecided"
    lost = {(20, "A", seed): "diverged" for seed in range(5)}
    assert one(FAILS, {20: [80.0, 81.0, 79.0, 80.5, 80.2]}, more=lost).word == "undecided"


def test_open_pairs_are_counted() -> None:
    found = one(BETTER, {20: [-0.5, -0.4, -0.6, "killed", None]})
    assert found.shown
    assert (found.shown.pairs.n, found.shown.pairs.planned, found.shown.pairs.open) == (3, 5, 2)
    assert found.difference.level == pytest.approx(1 - 0.05 * 0.05), "an early look"


def test_pairs_that_settle_left_out_are_not_open() -> None:
    found = one(BETTER, {20: [-0.5, -0.4, -0.6, NOT_NEEDED, None]})
    assert found.shown
    assert (found.shown.pairs.n, found.shown.pairs.planned, found.shown.pairs.open) == (3, 5, 1)


def test_seeds_that_overlap_in_part_are_counted() -> None:
    more = {(20, "A", seed): 8.0 for seed in (7, 8)}
    found = one(BETTER, {20: [-0.5, -0.4, -0.6]}, more=more)
    assert found.shown
    assert (found.word, found.shown.pairs.n, found.shown.pairs.alone) == ("supported", 3, 2)


def test_groups_without_common_seeds_are_compared_by_their_means() -> None:
    cells: dict[Any, Any] = {(20, "A", seed): 8 + 0.1 * seed for seed in range(4)}
    cells |= {(20, "B", seed): 5 + 0.1 * seed for seed in range(10, 14)}
    found = judged(collected(cells), [BETTER])[0]
    assert found.shown
    assert (found.word, found.shown.pairs.independent, found.difference.n) == ("supported", True, 4)


def test_independent_groups_are_judged_once_and_complete() -> None:
    """Each of their sizes would be another look."""
    cells: dict[Any, Any] = {(20, "A", seed): 8 + 0.1 * seed for seed in range(4)}
    cells |= {(20, "B", seed): 5 + 0.1 * seed for seed in range(10, 14)} | {(20, "B", 14): None}
    found = judged(collected(cells), [BETTER])[0]
    assert (found.word, found.shown and found.shown.pairs.open) == ("undecided", 1)


def test_one_shared_seed_makes_no_pairs() -> None:
    cells: dict[Any, Any] = {(20, "A", seed): 8 + 0.1 * seed for seed in range(5)}
    cells |= {(20, "B", seed): 5 + 0.1 * seed for seed in range(4, 9)}
    found = judged(collected(cells), [BETTER])[0]
    assert (found.word, found.shown and found.shown.pairs.independent) == ("supported", True)


def test_runs_of_a_benchmark_are_compared_by_their_speed() -> None:
    faster = Claim("B is faster", B, A, above=1, metric="images_per_second")
    c = collected(
        {(20, side, seed): (5.0 if side == "B" else 8.0) + seed / 50 for side in "AB" for seed in range(4)}
    )
    assert judged(c, [faster])[0].word == "supported"


def test_a_level_of_one_group_is_named() -> None:
    cells: dict[Any, Any] = {(depth, "A", seed): 8 + 0.1 * seed for seed in range(4) for depth in (20, 110)}
    cells |= {(110, "B", seed): 5 + 0.11 * seed for seed in range(4)}
    c = collected(cells)
    assert lone_levels(list(c.results.values()), c.studied, B, A) == ["depth 20"]
    found = judged(c, [BETTER])[0]
    assert found.shown
    assert found.shown.pairs.at == "depth 110"


def test_groups_without_a_common_level_are_not_compared() -> None:
    cells: dict[Any, Any] = {(20, "A", seed): 8 + 0.1 * seed for seed in range(4)}
    cells |= {(56, "B", seed): 5 + 0.1 * seed for seed in range(4)}
    found = judged(collected(cells), [BETTER])[0]
    assert (found.word, found.every) == ("untested", ())


def test_holm_makes_many_claims_stricter() -> None:
    values = [-0.5, -0.1, -0.45, -0.25]
    assert one(BETTER, {20: values}).word == "supported"
    many = judged(differing({20: values}), [BETTER] * 10)
    assert {verdict.word for verdict in many} == {"undecided"}
    assert many[0].difference.level == pytest.approx(1 - 0.005 * 0.9)


def test_metric_that_nobody_logged_is_untested() -> None:
    claim = Claim("top-5", B, A, below=0, metric="test/top5_error")
    assert one(claim, {20: [-0.5, -0.4, -0.6]}).word == "untested"


def test_claims_without_data_are_of_the_family() -> None:
    """Two claims that nothing was run for make the level of the third stricter."""
    untested = [Claim(f"no wings {i}", {"model.wings": i}, B, above=0) for i in (1, 2)]
    values = [-0.5, -0.35, -0.6]
    assert one(BETTER, {20: values}).word == "supported"
    found = judged(differing({20: values}), [BETTER, *untested])
    assert [verdict.word for verdict in found] == ["undecided", "untested", "untested"]
    assert found[0].difference.level == pytest.approx(1 - 0.05 / 3)
