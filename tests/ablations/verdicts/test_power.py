"""Power against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

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
    assert math.isnan(power.resolvable(0.3, 1))


def test_without_spread_nothing_is_foreseen() -> None:
    assert math.isnan(power.resolvable(0.0, 3))
    assert power.seeds_needed(0.0, 0.5) is None
