"""Exact comparisons of two independent groups, for values of which some are only known to be the worst."""

from __future__ import annotations

import numpy as np
from scipy import special

from ablations.verdicts.statistics import Values


def upper_p(of: Values, than: Values) -> float:
    """One-sided exact p value of "`of` is no larger than `than`", by the sum of ranks (Wilcoxon 1945).

    Small when `of` is clearly larger. Values may be infinite and may be equal: equal ones share their mean rank. Pairs
    are taken as two independent groups: that they share a seed makes the test more careful, as long as it makes their
    runs more alike. 1 if a group is empty.
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


def more_often_p(of: tuple[int, int], than: tuple[int, int]) -> float:
    """One-sided exact p value of "something happens in `of` no more often than in `than`" (Boschloo 1970).

    of, than: (how often it happened, in how many runs). Tables are ordered by Fisher's p value; the probability of this
    one or a more extreme one is the largest over all probabilities that both groups could share.
    """
    (a, m), (b, n) = of, than
    happened = np.arange(m + 1)[:, None] + np.arange(n + 1)
    ways = special.comb(m, np.arange(m + 1))[:, None] * special.comb(n, np.arange(n + 1))
    fisher = np.zeros_like(ways)
    for total in range(m + n + 1):
        same = happened == total
        of_same = ways[same]  # by how often it happened in `of`, rising
        fisher[same] = np.cumsum(of_same[::-1])[::-1] / of_same.sum()
    extreme = fisher <= fisher[a, b] * (1 + 1e-9)
    shared = np.linspace(0, 1, 1001)[:, None]
    first, second = (
        special.comb(size, k := np.arange(size + 1)) * shared**k * (1 - shared) ** (size - k)
        for size in (m, n)
    )
    return min(1.0, float(((first @ extreme) * second).sum(1).max()))
