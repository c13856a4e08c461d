"""What the runs say about a study's claims: a verdict for each, true of all of them together and at any look.

A claim is decided by the two-sided interval of a difference against its margin. Its level is what Holm's method gives
it in the family of all claims of the study, times the share of the look (looks.py): so in at most 5 % of studies is any
of these words false, whenever somebody looks, if the errors of both groups are spread alike. Where a run diverged there
is no mean; the two groups are compared by exact ranks then, a diverged run being the worst, at the same level. A claim
over several levels holds in each of them (an intersection-union test), or of their mean with the levels as a sample, as
the claim says; levels are no replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from ablations.study import Claim
from ablations.verdicts import ranks, statistics
from ablations.verdicts.looks import holm
from ablations.verdicts.pairs import Pairs, compare, on_new_images
from ablations.verdicts.results import Result
from ablations.verdicts.statistics import NOTHING, Estimate, at_level, estimate, lower_p, upper_p

Word = Literal["supported", "smaller than claimed", "contradicted", "undecided", "untested"]
WORDS: tuple[Word, ...] = get_args(Word)

P = TypeVar("P", float, NDArray[np.float64])
"""p values: one, or as many as there are draws."""

LEAST_FOR_EQUIVALENCE = 6
"""Pairs below which nothing is called as good: few pairs agree easily where one seed in ten goes wrong."""


@dataclass(frozen=True)
class Evidence:
    """What one level of a claim's free factors says, or the mean over all of them.

    p_for: one-sided p value against the claim's being false there. p_smaller: against an effect as large as claimed.
    p_opposite: against any effect in the claimed direction. All are divided by the share of the look, so that they
    hold at any look; 1 where there is nothing to judge. by_ranks: whether they are of ranks, or of how many runs fail,
    and no interval decides.
    """

    pairs: Pairs
    difference: Estimate
    new_images: Estimate
    p_for: float
    p_smaller: float
    p_opposite: float
    by_ranks: bool = False


@dataclass(frozen=True)
class Verdict:
    """A claim and what became of it.

    every: the evidence at each level. shown: that which decides, or is the furthest from it; None if there is none.
    difference, new_images: its estimates, at the level at which they were judged. on_new_images: the word if new
    images were drawn too; None if that is not known. alpha: what Holm's method gives the claim, before looks and levels
    share it.
    """

    claim: Claim
    word: Word
    every: tuple[Evidence, ...]
    shown: Evidence | None = None
    difference: Estimate = NOTHING
    new_images: Estimate = NOTHING
    on_new_images: Word | None = None
    alpha: float = math.nan


def judge_claims(
    results: Collection[Result], studied: Sequence[str], claims: Sequence[Claim]
) -> list[Verdict]:
    """A verdict for each claim of a study. studied: the keys that may tell its cells apart."""
    return judge(claims, [compare(results, studied, claim.of, claim.than, claim.metric) for claim in claims])


def judge(claims: Sequence[Claim], compared: Sequence[Sequence[Pairs]]) -> list[Verdict]:
    """A verdict for each claim, from the pairs at each level of what it leaves free. The claims are one family."""
    found = [tuple(evidence(claim, parts)) for claim, parts in zip(claims, compared, strict=True)]
    p_values = [min(1.0, 2 * min(_together(every)[:2])) for every in found]
    return [
        _verdict(claim, every, alpha)
        for claim, every, (_, alpha) in zip(claims, found, holm(p_values), strict=True)
    ]


def _together(every: Sequence[Evidence]) -> tuple[float, float, float]:
    """p values of a claim over its levels: it holds if it holds at each, and does not if it does not at any one."""
    if not every or any(not each.pairs.n for each in every):
        return 1.0, 1.0, 1.0
    p_smaller, p_opposite = (
        min(1.0, len(every) * min(getattr(each, side) for each in every))
        for side in ("p_smaller", "p_opposite")
    )
    return max(each.p_for for each in every), p_smaller, p_opposite


def word(every: Sequence[Evidence], alpha: float) -> Word:
    """What evidence at each level says of its claim."""
    if not any(each.pairs.n for each in every):
        return "untested"
    p_for, p_smaller, p_opposite = _together(every)
    if 2 * p_for <= alpha:
        return "supported"
    if 2 * p_opposite <= alpha:
        return "contradicted"
    return "smaller than claimed" if 2 * p_smaller <= alpha else "undecided"


def _verdict(claim: Claim, every: tuple[Evidence, ...], alpha: float) -> Verdict:
    found = word(every, alpha)
    told = [each for each in every if each.pairs.n]
    if not told:
        return Verdict(claim, found, every, alpha=alpha)
    side = {"contradicted": "p_opposite", "smaller than claimed": "p_smaller"}.get(found)
    shown = (
        min(told, key=lambda each: getattr(each, side)) if side else max(told, key=lambda each: each.p_for)
    )
    spent = alpha * shown.pairs.share / (len(every) if side else 1)
    difference, new = (_judged_at(e, 1 - spent) for e in (shown.difference, shown.new_images))
    over_images = [_of_estimate(claim, each.pairs, each.new_images) for each in every]
    known = all(each.new_images.n and not each.by_ranks for each in every)
    new_word = word(over_images, alpha) if known else None
    return Verdict(claim, found, every, shown, difference, new, new_word, alpha)


def _judged_at(e: Estimate, level: float) -> Estimate:
    """The estimate at a level; without an interval at a look that may spend nothing."""
    return at_level(e, level) if level < 1 else statistics.without_interval(e)


def evidence(claim: Claim, parts: Sequence[Pairs]) -> list[Evidence]:
    """What each level says, or their mean."""
    if claim.over == "mean":
        return _of_mean(claim, parts)
    if claim.fails is not None:
        return [_of_failures(claim, pairs) for pairs in parts]
    return [
        _of_ranks(claim, pairs) if any(pairs.diverged) else _of_estimate(claim, pairs, pairs.difference)
        for pairs in parts
    ]


def _of_estimate(claim: Claim, pairs: Pairs, e: Estimate) -> Evidence:
    """By the interval of a difference."""
    p_values = sides(claim, pairs.n, partial(upper_p, e), partial(lower_p, e))
    return _at_look(pairs, e, on_new_images(e, pairs.images), p_values)


def sides(claim: Claim, n: int, upper: Callable[[float], P], lower: Callable[[float], P]) -> tuple[P, P, P]:
    """p values for a claim, for a smaller effect and for the opposite one (see Evidence), of one look.

    n: pairs. upper, lower: margin -> p value of "the true mean is at most, or at least, this".
    """
    margin = claim.margin
    if claim.within is not None:
        inside, beyond = (
            np.maximum(lower(margin), upper(-margin)),
            np.minimum(upper(margin), lower(-margin)),
        )
        return inside if n >= LEAST_FOR_EQUIVALENCE else np.maximum(inside, 1.0), beyond, beyond
    if claim.below is not None:
        return lower(-margin), upper(-margin), upper(0.0)
    return upper(margin), lower(margin), lower(0.0)


def _of_ranks(claim: Claim, pairs: Pairs) -> Evidence:
    """By exact ranks, because a run diverged. No effect of runs that diverge is small, and nothing is as good as
    another where they do."""
    of, than = (np.array(list(side.values())) for side in (pairs.of, pairs.than))
    larger, margin = ranks.upper_p, claim.margin
    if claim.within is not None:
        p_for, against = 1.0, min(larger(of, than + margin), larger(than - margin, of))
    elif claim.below is not None:
        p_for, against = larger(than - margin, of), larger(of, than)
    else:
        p_for, against = larger(of, than + margin), larger(than, of)
    e = statistics.without_interval(pairs.difference)
    return _at_look(pairs, e, NOTHING, (p_for, against, against), by_ranks=True)


def failures(claim: Claim, runs: Mapping[Hashable, float]) -> int:
    """How many of these runs failed, as a claim means it."""
    return sum(value > claim.margin for value in runs.values())


def _of_failures(claim: Claim, pairs: Pairs) -> Evidence:
    """Of a claim that runs fail: whether more of them do than of the others, by an exact test of how many. Against it,
    where none does: the interval of their error."""
    failed, others = ((failures(claim, side), len(side)) for side in (pairs.of, pairs.than))
    errors = estimate([value for value in pairs.of.values() if math.isfinite(value)])
    against = 1.0 if failed[0] else lower_p(errors, claim.margin)
    p_for = ranks.more_often_p(failed, others) if pairs.n else 1.0
    e = statistics.without_interval(pairs.difference)
    return _at_look(pairs, e, NOTHING, (p_for, against, against), by_ranks=True)


def _of_mean(claim: Claim, parts: Sequence[Pairs]) -> list[Evidence]:
    """Of the mean over the levels, which are a sample of all that there could be (a random effect).

    The mean of each level over the seeds that are complete at all of them is one value. One level is no sample, and
    where no seed is complete, or a run diverged, there is no mean: nothing is decided then.
    """
    seeds = [] if not parts else [seed for seed in parts[0].of if all(seed in pairs.of for pairs in parts)]
    if len(parts) < 2 or not seeds or any(pairs.independent or any(pairs.diverged) for pairs in parts):
        return [Evidence(pairs, NOTHING, NOTHING, 1.0, 1.0, 1.0) for pairs in parts]
    of, than = (
        {seed: math.fsum(side[seed] for side in sides) / len(parts) for seed in seeds}
        for sides in ([pairs.of for pairs in parts], [pairs.than for pairs in parts])
    )
    planned = min(pairs.planned for pairs in parts)
    alone = sum(pairs.alone for pairs in parts)
    together = Pairs(
        f"the mean over {len(parts)} levels",
        of,
        than,
        planned,
        planned - len(seeds),
        alone,
        _images(parts, seeds),
    )
    e = estimate([float(np.mean([pairs.of[seed] - pairs.than[seed] for seed in seeds])) for pairs in parts])
    return [_of_estimate(claim, together, e)]


def _images(parts: Sequence[Pairs], seeds: Sequence[Hashable]) -> NDArray[np.float64] | None:
    """Of shape (levels, images): what each image adds to the mean difference of each level, in points."""
    known = [
        pairs.images[[list(pairs.of).index(seed) for seed in seeds]]
        for pairs in parts
        if pairs.images is not None
    ]
    if len(known) < len(parts) or len({images.shape[1] for images in known}) > 1:
        return None
    return np.array([images.mean(0) for images in known])


def _at_look(
    pairs: Pairs,
    difference: Estimate,
    new: Estimate,
    p_values: tuple[float, float, float],
    by_ranks: bool = False,
) -> Evidence:
    spent = pairs.share
    p_for, p_smaller, p_opposite = (min(1.0, p / spent) if spent else 1.0 for p in p_values)
    return Evidence(pairs, difference, new, p_for, p_smaller, p_opposite, by_ranks)
