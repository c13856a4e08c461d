"""Power against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ablations.verdicts import power
from ablations.verdicts import statistics as s

RANDOM = np.random.default_rng(20151210)


def test_power_is_what_simulation_finds() -> None:
    samples = RANDOM.normal(0.5, 0.4, (5000, 5))
    found = sum(2 * min(s.upper_p(e, 0), s.lower_p(e, 0)) <= 0.05 for e in map(s.estimate, samples)) / 5000
    assert power.power(0.4, 5, 0.5) == pytest.approx(found, abs=0.03)


def test_resolvable_and_seeds_needed_agree() -> None:
    smallest = power.resolvable(0.3, 5)
    assert power.power(0.3, 5, smallest) == pytest.approx(0.8, abs=1e-6)
    assert power.seeds_needed(0.3, smallest * 1.001) == 5
    assert power.seeds_needed(0.3, smallest * 0.9) == 6
    assert power.seeds_needed(0.3, 0) is None
    assert power.seeds_needed(0.3, 0.001) is None, "more than anybody would train"
    assert math.isnan(power.resolvable(0.3, 1))


@pytest.mark.parametrize("n", [2, 3, 4, 8, 20])
@pytest.mark.parametrize("level", [0.95, 0.9983, 0.9995])
@pytest.mark.parametrize("difference", [0.3, 2.0, 30.0])
def test_power_is_the_noncentral_ts_at_any_level(n: int, level: float, difference: float) -> None:
    """Where scipy's own is NaN, that of a simulation."""
    shift, bar = difference * math.sqrt(n), stats.t.ppf((1 + level) / 2, n - 1)
    t = (RANDOM.normal(shift, 1, 200_000)) / np.sqrt(RANDOM.chisquare(n - 1, 200_000) / (n - 1))
    assert power.power(1.0, n, difference, level) == pytest.approx(np.mean(abs(t) > bar), abs=0.005)


def test_without_spread_nothing_is_foreseen() -> None:
    assert math.isnan(power.resolvable(0.0, 3))
    assert power.seeds_needed(0.0, 0.5) is None
