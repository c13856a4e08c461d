"""Two groups of results -> the runs that correspond to each other, at every level of what the groups leave free."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.study import HIGHER_IS_BETTER, related
from ablations.verdicts.crossed import hidden_spread, image_error
from ablations.verdicts.images import right_images
from ablations.verdicts.looks import share
from ablations.verdicts.results import NOT_NEEDED, Result, frozen
from ablations.verdicts.statistics import NOTHING, Estimate, at_level, estimate, unpaired, with_spread
from ablations.words import setting

Run = tuple[float, NDArray[np.bool_] | None]
"""What a run says: its metric, the worst there is if it diverged, and which test images it got right."""


ByLevel = dict[tuple[Hashable, ...], list[Result]]
"""Levels of some factors -> the results that have them."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The runs of two groups that are compared, at one level of what both leave free.

    at: that level, "depth 56"; "" if there is one. of, than: seed -> value of each run with a result, infinite if
    it diverged; of pairs, where both have a result. images: of shape (pairs, images), what each image adds to the
    difference of each pair, in points; None if that is not known. planned: pairs that were asked for. open: those of
    them that are still to come. alone: runs of either group whose seed the other one was not asked for, left out.
    independent: most seeds are of one group only, and two independent groups are compared; planned and open count runs.
    """

    at: str
    of: Mapping[Hashable, float]
    than: Mapping[Hashable, float]
    planned: int
    open: int = 0
    alone: int = 0
    images: NDArray[np.float64] | None = None
    independent: bool = False

    @property
    def share(self) -> float:
        """Part of a claim's level that may be spent now. Independent groups are looked at once, when both are complete:
        their sizes could grow in many orders, and each would be a look."""
        if self.independent:
            return float(not self.open and self.n > 1)
        return share(self.n, self.planned)

    @property
    def n(self) -> int:
        """Results that count: pairs, or the runs of the smaller group."""
        return min(len(self.of), len(self.than))

    @cached_property
    def diverged(self) -> tuple[int, int]:
        """How many runs of each group diverged."""
        of, than = (sum(map(math.isinf, side.values())) for side in (self.of, self.than))
        return of, than

    @cached_property
    def difference(self) -> Estimate:
        """of - than, on these test images, over the pairs of which both finished.

        Where all of them differ by the same amount, the spread is what the images hide that changed from seed to seed.
        """
        if self.independent:
            return unpaired(
                *([v for v in side.values() if math.isfinite(v)] for side in (self.of, self.than))
            )
        both = [(value, self.than[seed]) for seed, value in self.of.items()]
        e = estimate([a - b for a, b in both if math.isfinite(a) and math.isfinite(b)])
        if e.sd == 0 and self.images is not None and len(self.images) == e.n:
            e = with_spread(e, hidden_spread(self.images))
        return e

    @cached_property
    def on_new_images(self) -> Estimate:
        """of - than, on new images of the kind; NOTHING where it is not known which images the runs got right."""
        return on_new_images(self.difference, self.images)


def on_new_images(e: Estimate, images: NDArray[np.float64] | None) -> Estimate:
    """A difference on these images -> on new ones. images: of shape (values of e, images), see Pairs."""
    if images is None or len(images) != e.n or e.n < 2:
        return NOTHING
    return at_level(replace(e, further=image_error(images), further_df=images.shape[1] - 1), e.level)


def select(results: Collection[Result], levels: Mapping[str, Any]) -> list[Result]:
    """The results with these levels; none if nobody has such a key."""
    wanted = frozen(levels)
    return [
        each
        for each in results
        if all(key in each.levels and each.levels[key] == wanted[key] for key in wanted)
    ]


def compare(
    results: Collection[Result],
    studied: Sequence[str],
    of: Mapping[str, Any],
    than: Mapping[str, Any],
    metric: str,
) -> list[Pairs]:
    """The pairs of two groups, level by level of every studied factor that varies and that neither of them fixes."""
    return [pairs(first, second, metric, name) for name, first, second in groups(results, studied, of, than)]


def groups(
    results: Collection[Result], studied: Sequence[str], of: Mapping[str, Any], than: Mapping[str, Any]
) -> list[tuple[str, list[Result], list[Result]]]:
    """The results of two groups at each level of what both leave free, with its name ("depth 56"; "" if nothing is).

    Levels that only one group was asked for are left out.
    """
    free, first, second = _levels(results, studied, of, than)
    levels = [level for level in first if level in second]
    names = _names(levels, free)
    return [(names[level], first[level], second[level]) for level in levels]


def lone_levels(
    results: Collection[Result], studied: Sequence[str], of: Mapping[str, Any], than: Mapping[str, Any]
) -> list[str]:
    """The levels that only one of the groups was asked for, "depth 83": nothing is compared there."""
    free, first, second = _levels(results, studied, of, than)
    lone = [level for level in (*first, *second) if not (level in first and level in second)]
    return list(_names(lone, free).values()) if first and second else []


def _levels(
    results: Collection[Result], studied: Sequence[str], of: Mapping[str, Any], than: Mapping[str, Any]
) -> tuple[list[str], ByLevel, ByLevel]:
    """Studied factors that vary and that a comparison does not fix, and the results of either group by their levels."""
    free = [key for key in studied if key != "seed" and not related(key, [*of, *than])]
    free = [key for key in free if len({repr(each.levels.get(key)) for each in results}) > 1]
    first, second = (_by_level(select(results, levels), free) for levels in (of, than))
    return free, first, second


def _by_level(results: Sequence[Result], free: Sequence[str]) -> ByLevel:
    levels: ByLevel = {}
    for each in results:
        levels.setdefault(tuple(each.levels.get(key) for key in free), []).append(each)
    return levels


def _names(levels: Sequence[tuple[Hashable, ...]], keys: Sequence[str]) -> dict[tuple[Hashable, ...], str]:
    """What levels are called, "depth 56": by the first keys that tell all of them apart; "" where nothing is free."""
    count = min(1, len(keys))
    while count < len(keys) and len({level[:count] for level in levels}) < len(levels):
        count += 1
    return {
        level: ", ".join(setting(*each) for each in zip(keys, level[:count], strict=False))
        for level in levels
    }


def pairs(of: Sequence[Result], than: Sequence[Result], metric: str, at: str = "") -> Pairs:
    """The pairs of these results, which differ in nothing within a group but the seed."""
    asked = [{each.levels.get("seed") for each in side} for side in (of, than)]
    first, second = (_runs(side, metric) for side in (of, than))
    shared, alone = asked[0] & asked[1], asked[0] ^ asked[1]
    if 2 * len(shared) < min(map(len, asked)):
        a, b = ({seed: value for seed, (value, _) in side.items()} for side in (first, second))
        missing = sum(map(len, asked)) - len(a) - len(b)
        return Pairs(at, a, b, min(map(len, asked)), missing, independent=True)
    common = [seed for seed in first if seed in second]
    spared = {each.levels.get("seed") for each in (*of, *than) if each.state == NOT_NEEDED}
    a, b = ({seed: side[seed][0] for seed in common} for side in (first, second))
    images = _images([(first[seed], second[seed]) for seed in common])
    return Pairs(at, a, b, len(shared), len(shared - spared - {*common}), len(alone), images)


def _runs(results: Sequence[Result], metric: str) -> dict[Hashable, Run]:
    """Seed -> what its run says, of those with a result."""
    worst = -math.inf if metric in HIGHER_IS_BETTER else math.inf
    runs: dict[Hashable, Run] = {}
    for each in results:
        if each.state == "finished" and not math.isnan(value := each.value(metric)):
            runs[each.levels.get("seed")] = value, right_images(each.events, metric)
        elif each.state == "diverged":
            runs[each.levels.get("seed")] = worst, None
    return runs


def _images(runs: Sequence[tuple[Run, Run]]) -> NDArray[np.float64] | None:
    """What each image adds to the difference of each pair that finished, in points; None if any run does not say."""
    finished = [(a[1], b[1]) for a, b in runs if math.isfinite(a[0]) and math.isfinite(b[0])]
    of, than = (_wrong([pair[side] for pair in finished]) for side in (0, 1))
    return None if of is None or than is None or of.shape != than.shape else of - than


def spread_by_images(results: Sequence[Result], metric: str) -> float:
    """Standard deviation over seeds, in points, of runs that all have the same error, from the images that change from
    seed to seed; NaN if any run does not say which it got right."""
    wrong = _wrong([right for value, right in _runs(results, metric).values() if math.isfinite(value)])
    return math.nan if wrong is None else hidden_spread(wrong)


def _wrong(right: Sequence[NDArray[np.bool_] | None]) -> NDArray[np.float64] | None:
    """[runs, images]: what each image adds to the error of each run, in points; None if they do not say, or not of the
    same images."""
    known = [run for run in right if run is not None]
    if not known or len(known) < len(right) or len({len(run) for run in known}) > 1:
        return None
    return 100.0 - 100.0 * np.array(known, dtype=np.float64)
