"""How a level is shared out: over the claims of a study (Holm) and over the looks at each of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablations.verdicts import statistics as s
from ablations.verdicts.looks import FIRST, holm, share

RANDOM = np.random.default_rng(20151210)


@pytest.mark.parametrize("planned", range(2, 31))
def test_the_looks_of_a_claim_spend_its_level_and_no_more(planned: int) -> None:
    shares = [share(pairs, planned) for pairs in range(planned + 1)]
    assert math.fsum(shares) == pytest.approx(1)
    assert shares[-1] >= 0.9
    assert not any(shares[: min(FIRST, planned)])


def test_seeds_beyond_the_plan_are_judged_as_the_last_look() -> None:
    assert share(7, 5) == share(5, 5) == pytest.approx(0.9)


def test_one_pair_is_never_judged() -> None:
    assert share(1, 1) == 0


def test_holm_by_hand() -> None:
    decided = holm([0.04, 0.001, 0.012, 0.03])
    assert [word for word, _ in decided] == [False, True, True, False]
    assert [alpha for _, alpha in decided] == pytest.approx([0.025, 0.0125, 0.05 / 3, 0.025])


def test_holm_decision_is_interval_against_margin() -> None:
    """What is significant, and only that, has an interval at its alpha that excludes the margin."""
    for _ in range(300):
        estimates = [s.estimate(RANDOM.normal(mean, 1, 5)) for mean in RANDOM.normal(0.5, 1, 4)]
        p = [2 * min(s.upper_p(e, 0), s.lower_p(e, 0)) for e in estimates]
        for e, (significant, alpha) in zip(estimates, holm(p), strict=True):
            judged = s.at_level(e, 1 - alpha)
            assert significant == (not judged.low <= 0 <= judged.high)


def test_holm_holds_the_family() -> None:
    """Under no difference at all, at most 5 % of families of four have any false finding."""
    wrong = 0
    for _ in range(2000):
        estimates = [s.estimate(sample) for sample in RANDOM.normal(0, 1, (4, 5))]
        wrong += any(word for word, _ in holm([2 * min(s.upper_p(e, 0), s.lower_p(e, 0)) for e in estimates]))
    assert wrong / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
