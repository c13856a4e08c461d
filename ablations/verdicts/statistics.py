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

    df: degrees of freedom of the interval. diverged: how many more values there would be, had their runs not
    diverged. planned: how many were asked for; 0 if nobody said. departed: how many of the n were not trained as their
    recipe says.
    """

    n: int
    mean: float
    sd: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: float = LEVEL
    df: float = math.nan
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


def welch(of: Values, than: Values) -> Estimate:
    """Difference of two means whose runs are not paired, variances not assumed equal (Welch).

    n is the smaller group; `sd` is scaled so that sd / sqrt(n) is the standard error of the difference.
    """
    a, b = estimate(of), estimate(than)
    n, mean = min(a.n, b.n), a.mean - b.mean
    if n < 2:
        return Estimate(n, mean)
    parts = (a.sd**2 / a.n, b.sd**2 / b.n)
    error = math.sqrt(sum(parts))
    if error == 0:
        return Estimate(n, mean, 0.0, df=a.n + b.n - 2)
    df = sum(parts) ** 2 / (parts[0] ** 2 / (a.n - 1) + parts[1] ** 2 / (b.n - 1))
    half = float(special.stdtrit(df, (1 + LEVEL) / 2)) * error
    return Estimate(n, mean, error * math.sqrt(n), mean - half, mean + half, df=df)


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
    half = float(special.stdtrit(e.df, (1 + level) / 2)) * e.sd / math.sqrt(e.n)
    return replace(e, low=e.mean - half, high=e.mean + half, level=level)


def at_least(e: Estimate, other: Estimate) -> Estimate:
    """The estimate with its interval stretched to hold that of another one; as it is where either has none."""
    if math.isnan(e.low) or math.isnan(other.low):
        return e
    return replace(e, low=min(e.low, other.low), high=max(e.high, other.high))


def upper_p(e: Estimate, margin: float) -> float:
    """One-sided p value of "the true mean is at most margin": small when the mean is clearly above it."""
    if math.isnan(e.low):
        return 1.0
    return float(special.stdtr(e.df, -(e.mean - margin) / (e.sd / math.sqrt(e.n))))


def lower_p(e: Estimate, margin: float) -> float:
    """One-sided p value of "the true mean is at least margin"."""
    return upper_p(replace(e, mean=-e.mean, low=-e.high, high=-e.low), -margin)


def sampling_error(percent: float, images: int) -> float:
    """Standard error, in points, that an error in percent has because its test set is a finite sample."""
    p = percent / 100
    return 100 * math.sqrt(max(p * (1 - p), 0) / images)
