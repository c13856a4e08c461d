"""Two groups of cells -> the runs that correspond to each other, at every level of what the groups leave free."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablations.study import HIGHER_IS_BETTER
from reports.numbers import statistics
from reports.numbers.crossed import hidden_spread, on_new_images
from reports.numbers.deviations import related
from reports.numbers.images import right_images
from reports.numbers.join import Collected, Place, varies
from reports.numbers.statistics import NOTHING, Estimate, estimate
from reports.words import setting

Run = tuple[float, NDArray[np.bool_] | None]
"""What a run says: its metric, the worst there is if it diverged, and which test images it got right."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The runs of two groups that are compared, at one level of what both leave free.

    at: that level, "depth 56"; "" if there is one. of, than: seed -> value of each run with a result, infinite if
    it diverged; those whose partner has no result yet are left out, as long as any two correspond. images: of shape
    (seeds of both, images), what each image adds to the difference of each pair, in points; None if that is not known.
    planned: pairs that were asked for. open: those of them without a result. alone: runs that have no partner.
    """

    at: str
    of: Mapping[Hashable, float]
    than: Mapping[Hashable, float]
    planned: int
    open: int = 0
    alone: int = 0
    images: NDArray[np.float64] | None = None

    @cached_property
    def paired(self) -> bool:
        """Whether runs correspond by their seed. Otherwise two independent groups are compared."""
        return self.of.keys() == self.than.keys()

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
        if not self.paired:
            return statistics.welch(
                *([v for v in side.values() if math.isfinite(v)] for side in (self.of, self.than))
            )
        both = [(value, self.than[seed]) for seed, value in self.of.items()]
        e = estimate([a - b for a, b in both if math.isfinite(a) and math.isfinite(b)])
        if e.sd == 0 and self.images is not None and len(self.images) == e.n:
            e = statistics.with_spread(e, hidden_spread(self.images))
        return e

    @cached_property
    def on_new_images(self) -> Estimate:
        """of - than, on new images of the kind; NOTHING where it is not known which images the runs got right."""
        return NOTHING if self.images is None else on_new_images(self.images)


def select(cells: pd.DataFrame, levels: Mapping[str, Any]) -> pd.DataFrame:
    """The cells with these levels; none if a key is unknown."""
    for key, level in levels.items():
        if key not in cells:
            return cells.iloc[:0]
        wanted = tuple(level) if isinstance(level, list) else level
        cells = cells[pd.Series([value == wanted for value in cells[key]], index=cells.index, dtype=bool)]
    return cells


def compare(c: Collected, of: Mapping[str, Any], than: Mapping[str, Any], metric: str) -> list[Pairs]:
    """The pairs of two groups of cells, level by level of every studied factor that varies and that neither fixes.

    Levels that only one group was asked for are left out.
    """
    free = [key for key in c.studied if key in c.cells and not related(key, [*of, *than])]
    free = [key for key in free if key != "seed" and varies(c.cells, key)]
    first, second = (_by_level(select(c.cells, levels), free) for levels in (of, than))
    levels = [level for level in first if level in second]
    names = _names(levels, free)
    return [pairs(c, first[level], second[level], metric, names[level]) for level in levels]


def _by_level(cells: pd.DataFrame, free: Sequence[str]) -> dict[tuple[Hashable, ...], pd.DataFrame]:
    if not free:
        return {(): cells} if len(cells) else {}
    return {tuple(level): found for level, found in cells.groupby(list(free), sort=False)}


def _names(levels: Sequence[tuple[Hashable, ...]], keys: Sequence[str]) -> dict[tuple[Hashable, ...], str]:
    """What levels are called: by the first keys that tell all of them apart."""
    count = next(
        i
        for i in range(len(keys) + 1)
        if len({level[:i] for level in levels}) == len(levels) or i == len(keys)
    )
    named = ((level, zip(keys[:count], level, strict=False)) for level in levels)
    return {level: ", ".join(setting(*each) for each in settings) for level, settings in named}


def pairs(c: Collected, of: pd.DataFrame, than: pd.DataFrame, metric: str, at: str = "") -> Pairs:
    """The pairs of these cells, which differ in nothing within a group but the seed."""
    asked = [set(_seeds(cells)) for cells in (of, than)]
    first, second = (_runs(c, cells, metric) for cells in (of, than))
    if asked[0].isdisjoint(asked[1]):
        planned = min(map(len, asked))
        a, b = ({seed: value for seed, (value, _) in side.items()} for side in (first, second))
        return Pairs(at, a, b, planned, planned - min(len(a), len(b)))
    common = [seed for seed in first if seed in second]
    planned = len(asked[0] & asked[1])
    a, b = ({seed: side[seed][0] for seed in common} for side in (first, second))
    images = _images([(first[seed], second[seed]) for seed in common])
    return Pairs(at, a, b, planned, planned - len(common), len(asked[0] ^ asked[1]), images)


def _seeds(cells: pd.DataFrame) -> list[Hashable]:
    return cells["seed"].tolist() if "seed" in cells else [0] * len(cells)


def _runs(c: Collected, cells: pd.DataFrame, metric: str) -> dict[Hashable, Run]:
    """Seed -> what its run says, of those with a result."""
    worst = -math.inf if metric in HIGHER_IS_BETTER else math.inf
    runs: dict[Hashable, Run] = {}
    values = cells[metric] if metric in cells else [math.nan] * len(cells)
    for seed, identity, state, value in zip(
        _seeds(cells), cells["identity"], cells["state"], values, strict=True
    ):
        if state == "finished" and not math.isnan(value):
            runs[seed] = float(value), right_images(c.events.get(identity, ()), metric)
        elif state == "diverged":
            runs[seed] = worst, None
    return runs


def _images(runs: Sequence[tuple[Run, Run]]) -> NDArray[np.float64] | None:
    """What each image adds to the difference of each pair that finished, in points; None if any run does not say."""
    finished = [(a, b) for a, b in runs if math.isfinite(a[0]) and math.isfinite(b[0])]
    right = [(a[1], b[1]) for a, b in finished]
    if not right or any(a is None or b is None for a, b in right):
        return None
    if len({len(side) for pair in right for side in pair if side is not None}) > 1:
        return None
    return np.array([100.0 * (np.asarray(b, dtype=np.int8) - np.asarray(a, dtype=np.int8)) for a, b in right])


def of_places(c: Collected, of: Place, than: Place, metric: str) -> Pairs:
    """The pairs of two places of the tables."""
    return pairs(c, of.cells, than.cells, metric)
