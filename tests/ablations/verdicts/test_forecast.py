"""The chance that more pairs decide a claim: by simulation, and where it is certain."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from ablations.study import Claim
from ablations.verdicts.forecast import LOOK_FIRST, forecast
from ablations.verdicts.judge import judge
from ablations.verdicts.pairs import Pairs

SIDES = {"model.depth": 56}, {"model.depth": 20}
BETTER, CLOSE = Claim("better", *SIDES, below=0), Claim("as good", *SIDES, within=1)
FAILS = Claim("fails", *SIDES, fails=20)
PLANNED = 8


def pairs(differences: Sequence[float], planned: int = PLANNED) -> Pairs:
    than = [8.0 if math.isfinite(each) else 0.0 for each in differences]
    of = [a + b for a, b in zip(than, differences, strict=True)]
    return Pairs("", dict(enumerate(of)), dict(enumerate(than)), planned, planned - len(of))


def chance(claim: Claim, differences: Sequence[float], then: int, planned: int = PLANNED) -> float:
    parts = [pairs(differences, planned)]
    return forecast(judge([claim], [parts])[0], parts, [then]).chance


@pytest.mark.parametrize("claim", [BETTER, CLOSE])
def test_claims_are_decided_as_often_as_it_says(claim):
    rng, said, happened = np.random.default_rng(4), [], []
    for _ in range(400):
        differences = rng.uniform(-2, 2) + rng.normal(0, 1, PLANNED)
        said.append(chance(claim, differences[:4].tolist(), PLANNED))
        happened.append(judge([claim], [[pairs(differences.tolist())]])[0].word != "undecided")
    likely = np.array(said) >= 0.5
    rates = [float(np.mean(np.array(happened)[chosen])) for chosen in (likely, ~likely)]
    print(
        f"\n{claim.text}: {np.mean(said):.3f} said, {np.mean(happened):.3f} happened; "
        f"{rates[0]:.3f} where it is likely, {rates[1]:.3f} where not"
    )
    # Effects are drawn from a narrow range, and the forecast takes any as possible: that makes it a little too sure
    assert abs(np.mean(said) - np.mean(happened)) <= 0.12
    assert rates[0] > 0.5 and rates[1] < 0.35


def test_more_pairs_and_larger_differences_are_likelier_to_decide():
    near, far = [-0.5, -1.4, -0.2], [-5.0, -6.4, -4.2]
    assert chance(BETTER, near, 4) < chance(BETTER, near, 8) < chance(BETTER, far, 8)
    assert chance(BETTER, far, 8) > 0.9


def test_as_good_needs_its_pairs():
    alike = [0.01, -0.02, 0.015]
    assert chance(CLOSE, alike, 5) == 0.0 and chance(CLOSE, alike, 6) > 0.9


def test_two_pairs_or_no_spread_are_looked_at_first():
    for differences in ([], [-1.0, -2.0], [0.0] * 4):
        parts = [pairs(differences)]
        assert forecast(judge([BETTER], [parts])[0], parts, [5]) is LOOK_FIRST


def test_all_levels_must_hold_and_one_may_refute():
    far, near = pairs([-5.0, -5.5, -4.8]), pairs([-0.4, 0.5, -0.2])
    alone, together = (
        forecast(judge([BETTER], [parts])[0], parts, [PLANNED] * len(parts)).chance
        for parts in ([far], [far, near])
    )
    assert together < 0.3 < 0.9 < alone


def test_a_mean_over_levels_is_as_wide_as_its_levels():
    mean = Claim("better", *SIDES, below=0, over="mean")
    alike, unlike = (
        [pairs([x - 0.1, x, x + 0.1]) for x in centres] for centres in ((-5.0, -5.2, -4.9), (-9.0, 0.0, 1.0))
    )
    first, second = (
        forecast(judge([mean], [parts])[0], parts, [PLANNED] * 3).chance for parts in (alike, unlike)
    )
    assert first > 0.9 and second < 0.1


def test_runs_that_diverged_are_repeated_or_wished():
    of, than = {0: math.inf, 1: 7.5, 2: 8.4}, {0: 8.0, 1: 7.9, 2: 8.2}
    parts = [Pairs("", of, than, 12, 9)]
    made = forecast(judge([BETTER], [parts])[0], parts, [12])
    assert (made.chance, made.best) == (0.0, 1.0)
    parts = [pairs([math.inf] * 3, 12)]
    made = forecast(judge([FAILS], [parts])[0], parts, [12])
    assert made.chance == 1.0  # all of them fail, none of the others does


def test_a_mean_of_a_few_pairs_is_not_taken_as_the_truth():
    balanced = [-1.0, 1.0, -1.0, 1.0]
    assert chance(BETTER, balanced, 200, 200) > 0.5  # hardly any true difference is as small as that
    assert chance(BETTER, balanced, 8) < 0.2


def test_that_no_run_fails_is_foreseen():
    """Three runs at 6, 7 and 11 % in a family of nine: two more will show that the claim that they fail is wrong."""
    parts = [pairs([-2.0, -1.0, 3.0], planned=5)]
    verdict = judge([FAILS] * 9, [parts] * 9)[0]
    assert verdict.word == "undecided"
    made = forecast(verdict, parts, [5])
    assert made.chance == made.best > 0.5
    failed = [pairs([-2.0, 30.0, 3.0], planned=5)]
    verdict = judge([FAILS] * 9, [failed] * 9)[0]
    assert forecast(verdict, failed, [5]).chance == 0
