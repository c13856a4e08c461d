"""The level of a verdict, so that one may look at a study at any time: shared out over looks and over claims.

A study is looked at while it runs, and `settle` stops where a claim is shown. A test at 5 % that is repeated at every
look is wrong far more often than in 5 %. So a claim with N planned pairs spends its level over its looks: the look at
k = 3, 4, ..., N pairs may spend `share(k, N)` of it, and all of them together spend no more than the whole. By the
union bound that holds for any test and any reason to stop.

The last look keeps nine tenths, so that a study that is judged once, at all its seeds, loses at most 2.5 points of
power against a test that was never repeated (`python -m benchmarks.looks`). Two others were tried. Sequential t-tests
that lose nothing at the last look (Koning and van Meer, arXiv:2501.03982) decide no claim about a continuous value
before it: nobody could stop. Confidence sequences for t (arXiv:2310.03722) hold at more seeds than any study has, and
lose more than half of the power at five.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ablations.verdicts.statistics import LEVEL

FIRST = 3
"""Pairs at the first look; a study that has fewer in all is looked at once."""

EARLY = 0.1
"""Part of its level that a claim spends before its last look, in equal shares."""


def share(pairs: int, planned: int) -> float:
    """Part of a claim's level that may be spent at the look with so many of the planned pairs; 0: none."""
    if pairs < min(FIRST, max(planned, 2)):
        return 0.0
    if planned <= FIRST:
        return 1.0
    return EARLY / (planned - FIRST) if pairs < planned else 1 - EARLY


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
