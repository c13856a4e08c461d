"""An exact comparison of two groups by ranks, for values of which some are only known to be the worst."""

from __future__ import annotations

import numpy as np

from ablations.verdicts.statistics import Values


def upper_p(of: Values, than: Values) -> float:
    """One-sided exact p value of "`of` is no larger than `than`", by the sum of ranks (Wilcoxon 1945).

    Small when `of` is clearly larger. Values may be infinite and may be equal: equal ones share their mean rank. Of
    zeros and ones it is Fisher's exact test. The runs of a pair share a seed; that makes groups more alike, not less,
    and the test no less careful. 1 if a group is empty.
    """
    a, b = (np.asarray(values, dtype=float) for values in (of, than))
    if not len(a) or not len(b):
        return 1.0
    every = np.concatenate([a, b])
    _, group, counts = np.unique(every, return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(counts) - counts + 1)[group]  # twice the mean ranks, which are whole numbers
    ways = np.zeros((len(a) + 1, int(doubled.sum()) + 1))  # of choosing so many values with such a sum
    ways[0, 0] = 1.0
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    chosen = ways[len(a)]
    return float(chosen[int(doubled[: len(a)].sum()) :].sum() / chosen.sum())
