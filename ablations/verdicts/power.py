"""How large a difference must be, or how many pairs are needed, for an interval to show it."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from ablations.verdicts.statistics import LEVEL

POWER = 0.8
"""Probability with which a difference that is there is to be shown."""


_QUANTILES = (np.arange(4000) + 0.5) / 4000


def power(sd: float, n: int, difference: float, level: float = LEVEL) -> float:
    """Probability that n pairs whose differences have this sd show a true difference (noncentral t).

    By the mean over quantiles of the chi-squared distribution of the sample's variance: the noncentral t of scipy is
    NaN, or underflows, at the few degrees of freedom and high levels that studies have.
    """
    if n < 2:
        return 0.0
    critical = -float(special.stdtrit(n - 1, (1 - level) / 2))
    shift = abs(difference) / sd * math.sqrt(n)
    bar = critical * np.sqrt(special.chdtri(n - 1, _QUANTILES) / (n - 1))
    return float(np.mean(special.ndtr(shift - bar) + special.ndtr(-shift - bar)))


def resolvable(sd: float, n: int, level: float = LEVEL) -> float:
    """The smallest true difference that n pairs would show with probability POWER; NaN without any spread."""
    if n < 2 or math.isnan(sd) or sd == 0:
        return math.nan
    low, high = 0.0, sd
    while power(sd, n, high, level) < POWER:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if power(sd, n, middle, level) < POWER else (low, middle)
    return high


def seeds_needed(sd: float, difference: float, level: float = LEVEL) -> int | None:
    """The fewest pairs that would show this difference with probability POWER; None beyond 1,000."""
    if difference == 0 or math.isnan(sd) or sd == 0:
        return None
    return next((n for n in range(2, 1001) if power(sd, n, difference, level) >= POWER), None)
