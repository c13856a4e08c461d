"""The exact comparison by ranks against scipy and against counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ablations.verdicts.ranks import more_often_p, upper_p

RANDOM = np.random.default_rng(1945)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 3), (5, 5), (4, 9), (12, 10)])
def test_without_ties_it_is_mann_and_whitneys(m: int, n: int) -> None:
    of, than = RANDOM.normal(0.4, 1, m), RANDOM.normal(0, 1, n)
    expected = stats.mannwhitneyu(of, than, alternative="greater", method="exact").pvalue
    assert upper_p(of, than) == pytest.approx(expected)


@pytest.mark.parametrize("_", range(20))
def test_with_ties_and_infinities_it_is_what_counting_finds(_: int) -> None:
    every = RANDOM.integers(0, 4, 9).astype(float)
    every[every == 3] = math.inf
    ranks = stats.rankdata(every)
    sums = [ranks[list(chosen)].sum() for chosen in itertools.combinations(range(9), 4)]
    expected = np.mean(np.array(sums) >= ranks[:4].sum() - 1e-9)
    assert upper_p(every[:4], every[4:]) == pytest.approx(expected)


@pytest.mark.parametrize("failed", [(5, 0), (3, 0), (4, 2), (0, 5)])
def test_of_zeros_and_ones_it_is_fishers(failed: tuple[int, int]) -> None:
    of, than = ([1.0] * count + [0.0] * (5 - count) for count in failed)
    table = [[failed[0], 5 - failed[0]], [failed[1], 5 - failed[1]]]
    assert upper_p(of, than) == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)


def test_of_nothing_nothing_follows() -> None:
    assert upper_p([], [1.0]) == upper_p([1.0], []) == 1.0


def test_every_run_of_thirty_diverged() -> None:
    assert upper_p([math.inf] * 30, list(RANDOM.normal(8, 1, 30))) == pytest.approx(1 / math.comb(60, 30))


TABLES = [((5, 5), (0, 5)), ((3, 5), (0, 5)), ((4, 6), (1, 8)), ((0, 5), (3, 5)), ((9, 10), (2, 4))]


@pytest.mark.parametrize("tables", TABLES)
def test_of_how_many_fail_it_is_boschloos(tables: tuple[tuple[int, int], tuple[int, int]]) -> None:
    (a, m), (b, n) = tables
    expected = stats.boschloo_exact([[a, b], [m - a, n - b]], alternative="greater", n=64).pvalue
    assert more_often_p((a, m), (b, n)) == pytest.approx(expected, abs=1e-4)


def test_all_against_none() -> None:
    """The most that five runs a side can show: 1/4 to the fifth."""
    assert more_often_p((5, 5), (0, 5)) == pytest.approx(4**-5)
    assert more_often_p((0, 5), (0, 5)) == pytest.approx(1)
