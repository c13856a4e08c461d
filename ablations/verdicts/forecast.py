"""What more pairs would probably say of a claim: the chance that it is decided, one way or another, once they exist.

From the pairs so far: their differences are taken as normal with mean and spread unknown (a noninformative prior), the
further pairs are drawn by a fixed set of draws, and each draw is judged as it would be then, at the look of that many
pairs and at the level that the claim is judged at now. Nothing random decides: the same pairs have the same chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablations.study import Claim
from ablations.verdicts import judge
from ablations.verdicts.judge import Verdict
from ablations.verdicts.looks import FIRST, share
from ablations.verdicts.pairs import Pairs
from ablations.verdicts.statistics import Estimate, estimate

DRAWS = 500

Draws = NDArray[np.float64]
Sides = tuple[Draws, Draws, Draws]
"""p values for a claim, for a smaller effect and for the opposite one, of every draw (see judge.Evidence)."""


@dataclass(frozen=True)
class Forecast:
    """chance: probability that the claim is decided. best: the same if further runs came as one would wish where a run
    diverged, and there only; 0 means that it cannot be decided, whatever they bring."""

    chance: float
    best: float


LOOK_FIRST = Forecast(1.0, 1.0)
"""Of a claim that nothing is known about: there is no spread to go by."""


def forecast(verdict: Verdict, parts: Sequence[Pairs], then: Sequence[int]) -> Forecast:
    """What a claim would become with so many pairs at each of its levels.

    parts: its pairs now, level by level. then: pairs at each level, at least those that are there.
    """
    claim, rng = verdict.claim, np.random.default_rng(0)
    if all(share(at, pairs.planned) == 0 for pairs, at in zip(parts, then, strict=True)):
        return Forecast(0.0, 0.0)
    if any(at > pairs.n and not _has_spread(claim, pairs) for pairs, at in zip(parts, then, strict=True)):
        return LOOK_FIRST
    if claim.over == "mean":
        every = [_of_mean(claim, parts, then, rng)]
        return _forecast(verdict, every, every)
    likely, wished = [], []
    for pairs, at in zip(parts, then, strict=True):
        if claim.fails is not None:
            against = _not_failing(claim, pairs, at, rng)
            known, best = (
                _of_runs(claim, further)[0] for further in (_repeated(pairs, at), _wished(pairs, at, 1))
            )
            likely.append((known, against, against))
            wished.append((best, against, against))
        elif any(pairs.diverged):
            likely.append(_of_runs(claim, _repeated(pairs, at)))
            sides = [_of_runs(claim, _wished(pairs, at, sign)) for sign in (-1, 1)]
            wished.append(tuple(map(np.minimum, *sides)))
        else:
            likely.append(_of_draws(claim, pairs, at, rng))
            wished.append(likely[-1])
    return _forecast(verdict, likely, wished)


def _forecast(verdict: Verdict, likely: Sequence[Sides], wished: Sequence[Sides]) -> Forecast:
    return Forecast(_decided(verdict, likely), _decided(verdict, wished))


def _decided(verdict: Verdict, every: Sequence[Sides]) -> float:
    """Share of the draws that decide the claim."""
    p_for = np.maximum.reduce([sides[0] for sides in every])
    against = np.minimum.reduce([np.minimum(*sides[1:]) for sides in every])
    return float(np.mean(2 * np.minimum(p_for, len(every) * against) <= verdict.alpha))


def _has_spread(claim: Claim, pairs: Pairs) -> bool:
    """Whether further pairs can be foreseen: by how many failed or diverged, or by the spread of the others."""
    counted = claim.fails is not None or any(pairs.diverged)
    return pairs.n >= FIRST and (counted or pairs.difference.sd > 0)


def _of_draws(claim: Claim, pairs: Pairs, then: int, rng: np.random.Generator) -> Sides:
    mean, sd = _drawn(pairs.difference, then, rng)
    return _judged(claim, mean, sd, then, then, pairs.planned)


def _not_failing(claim: Claim, pairs: Pairs, then: int, rng: np.random.Generator) -> Draws:
    """p values against a claim that runs fail, of every draw: of the first group's error, where none of it failed."""
    if judge.failures(claim, pairs.of):
        return np.ones(DRAWS)
    errors, spent = estimate(list(pairs.of.values())), share(then, pairs.planned)
    if not errors.sd > 0 or not spent:
        return np.ones(DRAWS)
    mean, sd = _drawn(errors, then, rng)
    return np.minimum(1.0, _p(then - 1, mean, sd / math.sqrt(then), 1, claim.margin) / spent)


def _of_mean(claim: Claim, parts: Sequence[Pairs], then: Sequence[int], rng: np.random.Generator) -> Sides:
    """Of the mean over levels, which are a sample: their own spread is the one that counts, and seeds sharpen each."""
    if len(parts) < 2 or any(any(pairs.diverged) for pairs in parts):
        return (np.ones(DRAWS),) * 3
    means = np.array([_drawn(pairs.difference, at, rng)[0] for pairs, at in zip(parts, then, strict=True)])
    seeds, planned = min(then), min(pairs.planned for pairs in parts)
    return _judged(claim, means.mean(0), means.std(0, ddof=1), len(parts), seeds, planned)


def _drawn(e: Estimate, then: int, rng: np.random.Generator) -> tuple[Draws, Draws]:
    """Mean and standard deviation of `then` values of which the first e.n are known, of every draw."""
    mean, sd, further = np.full(DRAWS, e.mean), np.full(DRAWS, e.sd), then - e.n
    if further <= 0:
        return mean, sd
    known = (e.n - 1) * e.sd**2
    sigma = np.sqrt(known / rng.chisquare(e.n - 1, DRAWS))
    true = e.mean + sigma * rng.standard_normal(DRAWS) / math.sqrt(e.n)
    values = true + sigma * rng.standard_normal((further, DRAWS))
    squares = (
        known
        + ((values - values.mean(0)) ** 2).sum(0)
        + e.n * further / then * (values.mean(0) - e.mean) ** 2
    )
    return (e.n * e.mean + values.sum(0)) / then, np.sqrt(squares / (then - 1))


def _judged(claim: Claim, mean: Draws, sd: Draws, n: int, pairs: int, planned: int) -> Sides:
    """p values of n values with such a mean and spread, at the look with so many of the planned pairs."""
    spent = share(pairs, planned)
    if n < 2 or not spent or not np.all(sd > 0):
        return (np.ones(DRAWS),) * 3
    error = sd / math.sqrt(n)
    sides = judge.sides(claim, pairs, partial(_p, n - 1, mean, error, -1), partial(_p, n - 1, mean, error, 1))
    return tuple(np.minimum(1.0, p / spent) for p in sides)  # type: ignore[return-value]


def _p(df: int, mean: Draws, error: Draws, sign: int, margin: float) -> Draws:
    """One-sided p values of "the true mean is at most margin" (sign -1), or at least (1)."""
    return np.asarray(special.stdtr(df, sign * (mean - margin) / error), dtype=float)


def _of_runs(claim: Claim, pairs: Pairs) -> Sides:
    """p values of these runs, for each draw the same."""
    (e,) = judge.evidence(replace(claim, over="each"), [pairs])
    return tuple(np.full(DRAWS, p) for p in (e.p_for, e.p_smaller, e.p_opposite))  # type: ignore[return-value]


def _repeated(pairs: Pairs, then: int) -> Pairs:
    """So many pairs, if those that are there came again, in their order."""
    of, than = (np.resize(list(side.values()), then) for side in (pairs.of, pairs.than))
    return Pairs(pairs.at, dict(enumerate(of)), dict(enumerate(than)), pairs.planned)


def _wished(pairs: Pairs, then: int, sign: int) -> Pairs:
    """So many pairs, if all further runs of the first group were the worst (1) or the best there are (-1), and of the
    second the other way round."""
    of, than = (
        [*side.values(), *[worst * math.inf] * (then - len(side))]
        for side, worst in ((pairs.of, sign), (pairs.than, -sign))
    )
    return Pairs(pairs.at, dict(enumerate(of)), dict(enumerate(than)), pairs.planned)
