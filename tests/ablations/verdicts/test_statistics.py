"""Statistics against scipy, and against simulation where scipy has no answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ablations.verdicts import statistics as s
from ablations.verdicts.looks import holm

RANDOM = np.random.default_rng(20151210)


def test_interval_is_scipys() -> None:
    values = RANDOM.normal(6.6, 0.16, 5)
    e = s.estimate(values)
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert (e.n, e.df) == (5, 4)
    assert e.mean == pytest.approx(values.mean(), rel=1e-14)
    assert e.sd == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert (e.low, e.high) == (pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12))


def test_another_level_is_scipys() -> None:
    values = RANDOM.normal(0, 1, 7)
    e = s.at_level(s.estimate(values), 0.99)
    assert (e.low, e.high) == pytest.approx(stats.t.interval(0.99, 6, values.mean(), stats.sem(values)))


@pytest.mark.parametrize("values", [[], [3.0]])
def test_no_interval_below_two_values(values: list[float]) -> None:
    e = s.estimate(values)
    assert math.isnan(e.low)
    assert math.isnan(e.high)
    assert math.isnan(e.sd)
    assert e.n == len(values)


def test_interval_covers_as_often_as_it_says() -> None:
    """5,000 samples of four: the true mean lies inside 95 % of the intervals, and a bootstrap would not."""
    samples = RANDOM.normal(1, 2, (5000, 4))
    inside = sum(e.low <= 1 <= e.high for e in map(s.estimate, samples)) / 5000
    assert inside == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 5000))


def test_one_sided_p_values_are_scipys() -> None:
    values = RANDOM.normal(0.3, 0.5, 6)
    e = s.estimate(values)
    assert s.upper_p(e, 0.1) == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="greater").pvalue)
    assert s.lower_p(e, 0.1) == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="less").pvalue)


def test_p_values_without_spread() -> None:
    """Errors are counts of images: that two or three of them agree is no proof of anything."""
    same = s.estimate([0.5, 0.5, 0.5])
    assert (s.upper_p(same, 0.4), s.upper_p(same, 0.5), s.lower_p(same, 0.6)) == (1.0, 1.0, 1.0)
    assert math.isnan(same.low)
    assert math.isnan(same.high)
    assert s.upper_p(s.estimate([0.5]), 0.0) == 1.0
    assert s.upper_p(s.unpaired([0.5, 0.5], [0.1, 0.1]), 0.0) == 1.0


def test_what_arithmetic_adds_is_no_spread() -> None:
    """Twice one image of 355: the differences are not the same float."""
    differences = [1000 / 355 - 900 / 355, 500 / 355 - 400 / 355]
    assert differences[0] != differences[1]
    assert s.estimate(differences).sd == 0


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_errors_in_whole_images_do_not_raise_the_size(seeds: int) -> None:
    """Two equal methods that differ in a few of 355 test images: one claim, and a family of seven."""
    studies, claims = 700, 7
    shape = (studies, claims, seeds)
    gaps = 100 * (RANDOM.binomial(4, 0.5, shape) / 355) - 100 * (RANDOM.binomial(4, 0.5, shape) / 355)
    p = [[2 * min(s.upper_p(e, 0), s.lower_p(e, 0)) for e in map(s.estimate, study)] for study in gaps]
    false = sum(value <= 0.05 for study in p for value in study) / (studies * claims)
    assert false <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (studies * claims))
    families = sum(any(word for word, _ in holm(study)) for study in p) / studies
    assert families <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_test_under_no_difference_has_its_size() -> None:
    samples = RANDOM.normal(0, 1, (4000, 5))
    wrong = sum(2 * min(s.upper_p(e, 0), s.lower_p(e, 0)) <= 0.05 for e in map(s.estimate, samples)) / 4000
    assert wrong == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 4000))


def test_unpaired_groups_of_few_and_many_hold_their_level() -> None:
    """Welch's degrees of freedom miss in 9.7 % where two runs meet ten."""
    tries, missed = 3000, {}
    for few, many in ((2, 10), (3, 20), (5, 5)):
        found = [s.unpaired(RANDOM.normal(0, 1, few), RANDOM.normal(0, 1, many)) for _ in range(tries)]
        missed[few, many] = sum(not e.low <= 0 <= e.high for e in found) / tries
    print(missed)
    assert max(missed.values()) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tries)


def test_unpaired_groups_add_the_intervals_of_their_means() -> None:
    """Half its width is the hypotenuse of theirs; Welch's is inside."""
    a, b = RANDOM.normal(6, 0.2, 5), RANDOM.normal(6.3, 0.6, 3)
    e, first, second = s.unpaired(a, b), s.estimate(a), s.estimate(b)
    halves = (first.high - first.mean, second.high - second.mean)
    assert e.high - e.mean == pytest.approx(math.hypot(*halves))
    assert e.mean == pytest.approx(first.mean - second.mean)
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert e.low < welch.low < welch.high < e.high


def test_unpaired_of_nothing_is_nothing() -> None:
    assert s.unpaired([], [1.0, 2.0]).n == 0
    assert math.isnan(s.unpaired([1.0], [2.0, 3.0]).low)


def test_sampling_error_of_cifar() -> None:
    """An error of 6.61 % on 10,000 images has a standard error of a quarter of a point."""
    assert s.sampling_error(6.61, 10_000) == pytest.approx(0.2485, abs=1e-3)
