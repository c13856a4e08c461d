"""Numbers for a report: estimates, paired differences, verdicts. Pure functions on plain arrays.

Intervals are Student's t, two-sided, 95 % unless said otherwise: with three to ten seeds a bootstrap covers
far less than it says. Nothing is dropped silently: what diverged is counted beside every mean. Values that
are all the same show no spread, which is not the same as showing that there is none: an error is a count of
images, and two or three of them agree by chance often enough. They get no interval and prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

LEVEL = 0.95
POWER = 0.8
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


def differences(of: Mapping[Hashable, float], than: Mapping[Hashable, float]) -> list[float]:
    """of - than for each key that both have, in the order of `of`: the values of paired runs."""
    return [value - than[key] for key, value in of.items() if key in than]


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


def at_level(e: Estimate, level: float) -> Estimate:
    """The same estimate with its interval at another level."""
    if math.isnan(e.sd) or e.sd == 0:
        return replace(e, level=level)
    half = float(special.stdtrit(e.df, (1 + level) / 2)) * e.sd / math.sqrt(e.n)
    return replace(e, low=e.mean - half, high=e.mean + half, level=level)


def upper_p(e: Estimate, margin: float) -> float:
    """One-sided p value of "the true mean is at most margin": small when the mean is clearly above it."""
    if math.isnan(e.low):
        return 1.0
    return float(special.stdtr(e.df, -(e.mean - margin) / (e.sd / math.sqrt(e.n))))


def lower_p(e: Estimate, margin: float) -> float:
    """One-sided p value of "the true mean is at least margin"."""
    return upper_p(replace(e, mean=-e.mean, low=-e.high, high=-e.low), -margin)


def poolable(groups: Sequence[Values]) -> float:
    """p value of "all groups have the same mean" (one-way analysis of variance).

    Small means that pooling them hides something. NaN if it cannot be tested: fewer than two groups, or no
    spread within any of them.
    """
    arrays = [np.asarray(group, dtype=float) for group in groups if len(group)]
    count, k = sum(map(len, arrays)), len(arrays)
    if k < 2 or count <= k:
        return math.nan
    grand = math.fsum(x for a in arrays for x in a) / count
    between = math.fsum(len(a) * (a.mean() - grand) ** 2 for a in arrays) / (k - 1)
    within = math.fsum(((a - a.mean()) ** 2).sum() for a in arrays) / (count - k)
    if within <= ROUNDING**2:
        return math.nan
    return float(special.fdtrc(k - 1, count - k, between / within))


def power(sd: float, n: int, difference: float, level: float = LEVEL) -> float:
    """Probability that n pairs whose differences have this sd show a true difference (noncentral t)."""
    if n < 2:
        return 0.0
    critical = float(special.stdtrit(n - 1, (1 + level) / 2))
    shift = abs(difference) / sd * math.sqrt(n)
    if shift > 30:  # the noncentral t underflows there; the power is 1 to all digits shown
        return 1.0
    above = 1 - float(special.nctdtr(n - 1, shift, critical))
    return above + float(special.nctdtr(n - 1, shift, -critical))


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


def sampling_error(percent: float, images: int) -> float:
    """Standard error, in points, that an error in percent has because its test set is a finite sample."""
    p = percent / 100
    return 100 * math.sqrt(max(p * (1 - p), 0) / images)


def holm(p_values: Sequence[float]) -> list[tuple[bool, float]]:
    """For each p value: whether it is significant in its family, and the alpha that it was judged at (Holm 1979).

    Of m values the smallest is judged at alpha/m with alpha = 1 - LEVEL, the next at alpha/(m-1), ...; the first
    that fails ends it, and all further ones are judged at the alpha of that one, so that "its interval excludes
    the margin" and "significant" are the same thing.
    """
    order = sorted(range(len(p_values)), key=lambda i: (p_values[i], i))
    result = [(False, math.nan)] * len(p_values)
    significant, judged_at = True, math.nan
    for rank, index in enumerate(order):
        if significant:
            judged_at = (1 - LEVEL) / (len(p_values) - rank)
            significant = p_values[index] <= judged_at
        result[index] = (significant, judged_at)
    return result
