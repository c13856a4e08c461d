"""What the runs say about a study's claims: paired differences, and a verdict for each claim.

A claim is judged by the interval of a difference against the claim's margin, at a level that Holm's method
gives it within the study, so that 95 % holds for all claims together. A run that diverged has no error; it
counts as worse than any that finished, and never helps the side that it is on.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd

from ablations.study import Claim
from reports.numbers import statistics
from reports.numbers.deviations import related
from reports.numbers.join import Collected, Place, varies
from reports.numbers.statistics import Estimate, estimate
from reports.words import number, setting

Word = Literal["supported", "contradicted", "undecided", "untested"]
WORDS: tuple[Word, ...] = get_args(Word)

UNFAIR = 0.05
"""Below this p value of `statistics.poolable`, rows are judged one by one."""


@dataclass(frozen=True)
class Comparison:
    """of - than, paired. Estimates are differences of the metric.

    parts: what the two groups are paired over besides seeds, such as "depth 56" -> its estimate. pooled: over
    all parts. fair: p value of "all parts have the same difference" (NaN: cannot be tested). paired: False if
    no two runs correspond, and the means of the two groups are compared instead. outcomes: how many pairs are
    "finished", have no number yet ("open"), or diverged, on one side alone ("of", "than") or on "both".
    """

    parts: Mapping[str, Estimate]
    pooled: Estimate
    fair: float
    paired: bool
    outcomes: Counter[str]


@dataclass(frozen=True)
class Verdict:
    """A claim and what became of it. difference: with its interval at the level it was judged at."""

    claim: Claim
    word: Word
    difference: Estimate
    comparison: Comparison
    note: str


def select(cells: pd.DataFrame, levels: Mapping[str, Any]) -> pd.DataFrame:
    """The cells with these levels; none if a key is unknown."""
    for key, level in levels.items():
        if key not in cells:
            return cells.iloc[:0]
        wanted = tuple(level) if isinstance(level, list) else level
        cells = cells[pd.Series([value == wanted for value in cells[key]], index=cells.index, dtype=bool)]
    return cells


def compare(c: Collected, of: Mapping[str, Any], than: Mapping[str, Any], metric: str) -> Comparison:
    """Compare two groups of cells, paired by every studied factor that varies and that neither of them fixes."""
    free = [key for key in c.studied if key in c.cells and not related(key, [*of, *than])]
    free = [key for key in free if varies(c.cells, key)]
    first, second = (_by_levels(select(c.cells, levels), free, metric) for levels in (of, than))
    pairs = [levels for levels in first if levels in second]
    parts: dict[str, list[float]] = {}
    outcomes: Counter[str] = Counter()
    for levels in pairs:
        states = first[levels][0], second[levels][0]
        outcomes[_outcome(*states)] += 1
        if states == ("finished", "finished"):
            named = zip(free, levels, strict=True)
            part = ", ".join(setting(key, level) for key, level in named if key != "seed")
            parts.setdefault(part, []).append(first[levels][1] - second[levels][1])
    pooled = estimate([value for values in parts.values() for value in values])
    paired = bool(pairs) or not first or not second
    if not paired:
        pooled = statistics.welch(*(list(_finished(side).values()) for side in (first, second)))
        of_lost, than_lost = (
            sum(state == "diverged" for state, _ in side.values()) for side in (first, second)
        )
        outcomes = Counter(of=of_lost, than=than_lost)
    each = {part: estimate(values) for part, values in parts.items()}
    return Comparison(each, pooled, statistics.poolable(list(parts.values())), paired, outcomes)


def _outcome(of: str, than: str) -> str:
    """Of a pair of cells in these states: finished, open, or which of them diverged (of, than or both)."""
    if not {of, than} <= {"finished", "diverged"}:
        return "open"
    if of == than:
        return "both" if of == "diverged" else "finished"
    return "of" if of == "diverged" else "than"


def _by_levels(
    cells: pd.DataFrame, free: Sequence[str], metric: str
) -> dict[tuple[Hashable, ...], tuple[str, float]]:
    """Levels of the free factors -> state and metric of the cell that has them."""
    if metric not in cells:
        cells = cells.assign(**{metric: math.nan})
    states = cells["state"].where(cells["state"].ne("finished") | cells[metric].notna(), "failed")
    levels = zip(*(cells[key] for key in free), strict=True) if free else [()] * len(cells)
    return dict(zip(levels, zip(states, cells[metric], strict=True), strict=True))


def _finished(side: Mapping[Any, tuple[str, float]]) -> dict[Hashable, float]:
    return {levels: value for levels, (state, value) in side.items() if state == "finished"}


def p_values(claim: Claim, difference: Estimate) -> tuple[float, float]:
    """One-sided p values against a claim's being false, and against its being true."""
    upper, lower = (functools.partial(test, difference) for test in (statistics.upper_p, statistics.lower_p))
    if claim.within is not None:
        inside = max(lower(claim.within), upper(-claim.within))
        return inside, min(upper(claim.within), lower(-claim.within))
    if claim.below is not None:
        return lower(-claim.below), upper(-claim.below)
    assert claim.above is not None
    return upper(claim.above), lower(claim.above)


def judge_claims(c: Collected, claims: Sequence[Claim]) -> list[Verdict]:
    """A verdict for each claim of a study."""
    comparisons = [compare(c, claim.of, claim.than, claim.metric) for claim in claims]
    evidence = [_evidence(claim, made) for claim, made in zip(claims, comparisons, strict=True)]
    tested = [index for index, made in enumerate(comparisons) if made.pooled.n]
    decided = statistics.holm([min(1.0, 2 * min(evidence[index][1:3])) for index in tested])
    significant = dict(zip(tested, decided, strict=True))
    verdicts = []
    for index, (claim, made) in enumerate(zip(claims, comparisons, strict=True)):
        difference, p_true, p_false, note = evidence[index]
        rejected, alpha = significant.get(index, (False, 1 - statistics.LEVEL))
        word: Word = "undecided"
        if rejected:
            word = "supported" if p_true < p_false else "contradicted"
        word, of_diverged = _with_diverged(claim, made, word)
        difference = statistics.at_level(difference, 1 - alpha)
        notes = " ".join(filter(None, [note, of_diverged, _power(claim, difference, word)]))
        verdicts.append(Verdict(claim, word, difference, made, notes))
    return verdicts


def _evidence(claim: Claim, made: Comparison) -> tuple[Estimate, float, float, str]:
    """The estimate that decides a claim, its two p values, and what to know of it.

    Where pooling is fair that is the pooled one. Otherwise the claim must hold (or fail) in every part, and
    the least clear part decides.
    """
    notes = []
    if not made.paired:
        notes.append("Not paired: the two groups share no seeds.")
    if len(made.parts) < 2 or not made.fair < UNFAIR:
        if len(made.parts) > 1 and math.isnan(made.fair):
            notes.append("No spread within groups: what differs between them counts as noise.")
        elif len(made.parts) > 1:
            notes.append(f"Pooled over {len(made.parts)} groups (they agree, p = {made.fair:.2f}).")
        return made.pooled, *p_values(claim, made.pooled), " ".join(notes)
    each = {part: p_values(claim, difference) for part, difference in made.parts.items()}
    true, false = (max(p[side] for p in each.values()) for side in (0, 1))
    side = 0 if true <= false else 1
    least = max(each, key=lambda part: each[part][side])
    notes.append(
        f"Groups differ (p = {made.fair:.2g}): it must hold in each; shown: the least clear, {least}."
    )
    return made.parts[least], true, false, " ".join(notes)


def _with_diverged(claim: Claim, made: Comparison, word: Word) -> tuple[Word, str]:
    """What runs that diverged do to a verdict, with a sentence about them."""
    of, than, both, still_open = (made.outcomes[outcome] for outcome in ("of", "than", "both", "open"))
    finished = made.pooled.n
    if not of and not than:
        if finished:
            notes = [f"Pairs still open: {still_open}."] * (still_open > 0)
            return word, " ".join(notes + [f"Pairs that diverged on both sides: {both}."] * (both > 0))
        none = "No pair has finished." if still_open else "No such cells."
        return "untested", "All pairs diverged." if both else none
    text = f"Of {of + than + both + finished} pairs, {of + both} diverged in the first group, "
    text += f"{than + both} in the second."
    shown: Word | None = None  # what it shows when the one side diverges and the other does not
    if min(of, than) == 0:
        agrees = claim.above if of else claim.below
        shown = "contradicted" if agrees is None else "supported"
        if not finished and of + than > 1:
            return shown, text + " No number is needed."
    if word == shown:
        return word, text
    return "undecided", text + " The pairs that finished cannot decide it."


def _power(claim: Claim, difference: Estimate, word: Word) -> str:
    """What an undecided claim would take."""
    if word != "undecided" or difference.n == 0:
        return ""
    if difference.n == 1:
        return "One pair: no interval."
    if difference.sd == 0:
        return f"All {difference.n} pairs differ by the same amount: there is no spread to judge by."
    smallest = statistics.resolvable(difference.sd, difference.n, difference.level)
    if claim.within is not None:
        gap = abs(abs(difference.mean) - claim.within)
    else:
        gap = abs(difference.mean - (claim.above or -(claim.below or 0.0)))
    needed = statistics.seeds_needed(difference.sd, gap, difference.level)
    text = f"These {difference.n} pairs resolve {number(smallest, 2)}"
    return text + (f"; about {needed} pairs would settle this." if needed and needed > difference.n else ".")


def place_difference(of: Place, than: Place, metric: str) -> tuple[Estimate, bool]:
    """Difference between two places of the tables, paired by seed; False if no seed is in both."""
    free = ["seed"] if "seed" in of.cells else []
    first, second = (_by_levels(place.cells, free, metric) for place in (of, than))
    pairs = [levels for levels in first if levels in second]
    if not pairs:
        return statistics.welch(*(list(_finished(side).values()) for side in (first, second))), False
    values = statistics.differences(_finished(first), _finished(second))
    lost = sum("diverged" in (first[levels][0], second[levels][0]) for levels in pairs)
    return estimate(values, diverged=lost, planned=len(pairs)), True
