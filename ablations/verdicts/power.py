"""How large a difference must be, or how many pairs are needed, for an interval to show it."""

from __future__ import annotations

import functools
import math
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablations.verdicts.statistics import LEVEL

POWER = 0.8
"""Probability with which a difference that is there is to be shown."""
MOST = 1000
"""Pairs beyond which it does not matter how many would be needed."""
_QUANTILES = (np.arange(4000) + 0.5) / 4000


@functools.lru_cache(32)
def _sample_sds(n: int) -> NDArray[np.float64]:
    """Quantiles of the standard deviation of n samples of a normal distribution whose own is 1; slow to compute."""
    sds: NDArray[np.float64] = np.sqrt(special.chdtri(n - 1, _QUANTILES) / (n - 1))
    return sds


def power(sd: float, n: int, difference: float, level: float = LEVEL) -> float:
    """Probability that n pairs whose differences have this sd show a true difference (noncentral t).

    By the mean over quantiles of the chi distribution of the sample's standard deviation: the noncentral t of scipy is
    NaN, or underflows, at the few degrees of freedom and high levels that studies have.
    """
    if n < 2:
        return 0.0
    critical = -float(special.stdtrit(n - 1, (1 - level) / 2))
    shift = abs(difference) / sd * math.sqrt(n)
    bar = critical * _sample_sds(n)
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
    """The fewest pairs that would show this difference with probability POWER; None beyond MOST."""
    if difference == 0 or math.isnan(sd) or sd == 0:
        return None
    # More pairs show more.
    needed = bisect_left(range(MOST + 1), POWER, key=lambda n: power(sd, n, difference, level))
    return needed if needed <= MOST else None
