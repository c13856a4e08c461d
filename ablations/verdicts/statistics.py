"""Means and differences with their intervals. Pure functions on plain arrays.

Intervals are Student's t, two-sided, 95 % unless said otherwise: with three to ten seeds a bootstrap covers
far less than it says. Nothing is dropped silently: what diverged is counted beside every mean. Values that
are all the same show no spread, which is not the same as showing that there is none: an error is a count of
images, and two or three of them agree by chance often enough. They get no interval and prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

LEVEL = 0.95
ROUNDING = 1e-9
"""Spread, in points, up to which values count as the same: it comes from arithmetic, not from the runs."""

Values = Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Estimate:
    """A mean over n values. low and high: its interval at `level`, NaN where there is no spread to go by: below
    two values (then sd is NaN too) and among values that are all the same (then it is 0).

    df: degrees of freedom of sd. further: standard error of a second, independent part of the mean, such as what other
    test images add, with further_df degrees of freedom. diverged: how many more values there would be, had their runs
    not diverged. planned: how many were asked for; 0 if nobody said. departed: how many of the n were not trained as
    their recipe says.
    """

    n: int
    mean: float
    sd: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: float = LEVEL
    df: float = math.nan
    further: float = 0.0
    further_df: float = math.nan
    diverged: int = 0
    planned: int = 0
    departed: int = 0


NOTHING = Estimate(0, math.nan)


def estimate(values: Values, diverged: int = 0, planned: int = 0) -> Estimate:
    """Mean, sample standard deviation and t interval."""
    x = np.asarray(values, dtype=float)
    n = len(x)
    mean = math.fsum(x) / n if n else math.nan
    if n < 2:
        return Estimate(n, mean, diverged=diverged, planned=planned)
    squares = 0.0 if np.ptp(x) <= ROUNDING else math.fsum((x - mean) ** 2)
    sd = math.sqrt(squares / (n - 1))
    return at_level(Estimate(n, mean, sd, df=n - 1, diverged=diverged, planned=planned), LEVEL)


def unpaired(of: Values, than: Values) -> Estimate:
    """Difference of two means whose runs are not paired, variances not assumed equal.

    Each group is a part of the error with its own degrees of freedom (Banerjee 1961): never too short, where Welch's
    single number of them is for groups of two or three beside many. n is the smaller group; `sd` is scaled so that
    sd / sqrt(n) is the standard error of the first group's mean.
    """
    a, b = estimate(of), estimate(than)
    n, mean = min(a.n, b.n), a.mean - b.mean
    if n < 2 or a.sd == 0 or b.sd == 0:
        return Estimate(n, mean, 0.0 if n > 1 else math.nan)
    sd = a.sd * math.sqrt(n / a.n)
    return at_level(
        Estimate(n, mean, sd, df=a.n - 1, further=b.sd / math.sqrt(b.n), further_df=b.n - 1), LEVEL
    )


def with_spread(e: Estimate, sd: float) -> Estimate:
    """The same mean with another standard deviation of its values."""
    return at_level(replace(e, sd=sd), e.level)


def without_interval(e: Estimate) -> Estimate:
    """The same mean without an interval at any level."""
    return replace(e, low=math.nan, high=math.nan, df=math.nan)


def at_level(e: Estimate, level: float) -> Estimate:
    """The same estimate with its interval at another level."""
    if math.isnan(e.sd) or e.sd == 0:
        return replace(e, level=level)
    half = _half(e, (1 - level) / 2)
    return replace(e, low=e.mean - half, high=e.mean + half, level=level)


def _half(e: Estimate, tail: float) -> float:
    """Half the width of an interval that leaves this probability (below 1/2) beyond either end.

    Of two independent parts of the error, each by its own t: such an interval holds its level (Banerjee 1961).
    """
    half = -float(special.stdtrit(e.df, tail)) * e.sd / math.sqrt(e.n)
    return math.hypot(half, float(special.stdtrit(e.further_df, tail)) * e.further) if e.further else half


def upper_p(e: Estimate, margin: float) -> float:
    """One-sided p value of "the true mean is at most margin": small when the mean is clearly above it."""
    if math.isnan(e.low):
        return 1.0
    if not e.further:
        return float(special.stdtr(e.df, -(e.mean - margin) / (e.sd / math.sqrt(e.n))))
    low, high = -700.0, math.log(0.5)  # of the logarithm of the tail whose interval ends at the margin
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _half(e, math.exp(middle)) > abs(e.mean - margin) else (low, middle)
    return math.exp(high) if e.mean > margin else 1 - math.exp(high)


def lower_p(e: Estimate, margin: float) -> float:
    """One-sided p value of "the true mean is at least margin"."""
    return upper_p(replace(e, mean=-e.mean, low=-e.high, high=-e.low), -margin)


def sampling_error(percent: float, images: int) -> float:
    """Standard error, in points, that an error in percent has because its test set is a finite sample."""
    p = percent / 100
    return 100 * math.sqrt(max(p * (1 - p), 0) / images)
