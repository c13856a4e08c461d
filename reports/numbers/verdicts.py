"""What the runs say about a study's claims: paired differences, and a verdict for each claim.

A claim is judged by the interval of a difference against the claim's margin, at a level that Holm's method
gives it within the study, so that 95 % holds for all claims together. A run that diverged has no error; it
counts as worse than any that finished, and never helps the side that it is on.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from ablations.study import Claim
from reports.numbers import statistics
from reports.numbers.deviations import related
from reports.numbers.join import Collected, key_text, value_text
from reports.numbers.statistics import Estimate, estimate
from reports.pages.document import number

Word = Literal["supported", "contradicted", "undecided", "untested"]

UNFAIR = 0.05
"""Below this p value of `statistics.poolable`, rows are judged one by one."""


@dataclass(frozen=True)
class Comparison:
    """of - than, paired. Estimates are differences of the metric.

    parts: what the two groups are paired over besides seeds, such as "depth 56" -> its estimate. pooled: over
    all parts. fair: p value of "all parts have the same difference" (NaN: cannot be tested). paired: False if
    no two runs correspond, and the means of the two groups are compared instead. diverged_of, diverged_than,
    diverged_both: pairs in which that side alone, or both, diverged; open: pairs without a number yet.
    """

    parts: Mapping[str, Estimate]
    pooled: Estimate
    fair: float = math.nan
    paired: bool = True
    diverged_of: int = 0
    diverged_than: int = 0
    diverged_both: int = 0
    open: int = 0


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
    free = [key for key in free if c.cells[key].map(repr).nunique() > 1]
    a, b = (_by_key(select(c.cells, levels), free, metric) for levels in (of, than))
    parts: dict[str, list[float]] = {}
    diverged = {"of": 0, "than": 0, "both": 0}
    still_open = 0
    for key in [key for key in a if key in b]:
        (state_a, value_a), (state_b, value_b) = a[key], b[key]
        name = ", ".join(
            f"{key_text(k)} {value_text(v)}" for k, v in zip(free, key, strict=True) if k != "seed"
        )
        if state_a == state_b == "finished":
            parts.setdefault(name, []).append(value_a - value_b)
        elif {state_a, state_b} <= {"finished", "diverged"}:
            side = "both" if state_a == state_b else "of" if state_a == "diverged" else "than"
            diverged[side] += 1
        else:
            still_open += 1
    estimates = {name: estimate(values) for name, values in parts.items()}
    pooled = estimate([value for values in parts.values() for value in values])
    paired = bool(a.keys() & b.keys()) or not a or not b
    if not paired:
        pooled = statistics.welch(_finished(a), _finished(b))
        diverged = {"of": _diverged(a), "than": _diverged(b), "both": 0}
    fair = statistics.poolable(list(parts.values()))
    return Comparison(
        estimates, pooled, fair, paired, diverged["of"], diverged["than"], diverged["both"], still_open
    )


def _by_key(
    cells: pd.DataFrame, free: Sequence[str], metric: str
) -> dict[tuple[Hashable, ...], tuple[str, float]]:
    """Levels of the free factors -> state and metric of the cell that has them."""
    if metric not in cells:
        cells = cells.assign(**{metric: math.nan})
    states = cells["state"].where(cells["state"].ne("finished") | cells[metric].notna(), "failed")
    keys = zip(*(cells[key] for key in free), strict=True) if free else [()] * len(cells)
    return dict(zip(keys, zip(states, cells[metric], strict=True), strict=True))


def _finished(side: Mapping[Any, tuple[str, float]]) -> list[float]:
    return [value for state, value in side.values() if state == "finished"]


def _diverged(side: Mapping[Any, tuple[str, float]]) -> int:
    return sum(state == "diverged" for state, _ in side.values())


def p_values(claim: Claim, e: Estimate) -> tuple[float, float]:
    """One-sided p values against a claim's being false, and against its being true."""
    if claim.within is not None:
        inside = max(statistics.lower_p(e, claim.within), statistics.upper_p(e, -claim.within))
        return inside, min(statistics.upper_p(e, claim.within), statistics.lower_p(e, -claim.within))
    if claim.below is not None:
        return statistics.lower_p(e, -claim.below), statistics.upper_p(e, -claim.below)
    assert claim.above is not None
    return statistics.upper_p(e, claim.above), statistics.lower_p(e, claim.above)


def judge(c: Collected, claims: Sequence[Claim]) -> list[Verdict]:
    """A verdict for each claim of a study."""
    compared = [compare(c, claim.of, claim.than, claim.metric) for claim in claims]
    asked = [_evidence(claim, made) for claim, made in zip(claims, compared, strict=True)]
    tested = [index for index, made in enumerate(compared) if made.pooled.n]
    significant = dict(
        zip(tested, statistics.holm([min(1.0, 2 * min(asked[i][1:3])) for i in tested]), strict=True)
    )
    verdicts = []
    for index, (claim, made) in enumerate(zip(claims, compared, strict=True)):
        e, p_true, p_false, note = asked[index]
        rejected, alpha = significant.get(index, (False, 1 - statistics.LEVEL))
        word: Word = "undecided"
        if rejected:
            word = "supported" if p_true < p_false else "contradicted"
        word, extra = _with_diverged(claim, made, word)
        e = statistics.at_level(e, 1 - alpha)
        verdicts.append(
            Verdict(claim, word, e, made, " ".join(filter(None, [note, extra, _power(claim, e, word)])))
        )
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
    each = {name: p_values(claim, e) for name, e in made.parts.items()}
    true, false = (max(p[side] for p in each.values()) for side in (0, 1))
    side = 0 if true <= false else 1
    least = max(each, key=lambda name: each[name][side])
    notes.append(
        f"Groups differ (p = {made.fair:.2g}): it must hold in each; shown: the least clear, {least}."
    )
    return made.parts[least], true, false, " ".join(notes)


def _with_diverged(claim: Claim, made: Comparison, word: Word) -> tuple[Word, str]:
    """What runs that diverged do to a verdict."""
    of, than, both, finished = made.diverged_of, made.diverged_than, made.diverged_both, made.pooled.n
    if not of and not than:
        if finished:
            notes = [f"Pairs still open: {made.open}."] * (made.open > 0)
            return word, " ".join(notes + [f"Pairs that diverged on both sides: {both}."] * (both > 0))
        return (
            "untested",
            "All pairs diverged." if both else "No pair has finished." if made.open else "No such cells.",
        )
    text = f"Of {of + than + both + finished} pairs, {of + both} diverged in the first group, "
    text += f"{than + both} in the second."
    if not finished and min(of, than) == 0 and max(of, than) > 1:
        of_is_worse = of > 0
        holds = claim.above is not None if of_is_worse else claim.below is not None
        return ("supported" if holds else "contradicted"), text + " No number is needed."
    worse = "of" if of and not than else "than" if than and not of else "both"
    agrees = {
        ("above", "of"): "supported", ("below", "of"): "contradicted",
        ("below", "than"): "supported", ("above", "than"): "contradicted",
        ("within", "of"): "contradicted", ("within", "than"): "contradicted",
    }  # fmt: skip
    kind = "within" if claim.within is not None else "below" if claim.below is not None else "above"
    if word == agrees.get((kind, worse)):
        return word, text
    return "undecided", text + " The pairs that finished cannot decide it."


def _power(claim: Claim, e: Estimate, word: Word) -> str:
    """What an undecided claim would take."""
    if word != "undecided" or e.n == 0:
        return ""
    if e.n == 1:
        return "One pair: no interval."
    if e.sd == 0:
        return f"All {e.n} pairs differ by the same amount: there is no spread to judge by."
    smallest = statistics.resolvable(e.sd, e.n, e.level)
    margin = claim.within if claim.within is not None else claim.below or claim.above or 0.0
    edge = -margin if claim.below is not None else margin
    gap = abs(abs(e.mean) - edge) if claim.within is not None else abs(e.mean - edge)
    needed = statistics.seeds_needed(e.sd, gap, e.level)
    text = f"These {e.n} pairs resolve {number(smallest, 2)}"
    return text + (f"; about {needed} pairs would settle this." if needed and needed > e.n else ".")


def baseline_comparison(
    c: Collected, of: tuple[Any, Any], than: tuple[Any, Any], metric: str
) -> tuple[Estimate, bool]:
    """Difference between two places of the tables, paired by seed; False if not paired."""
    empty = c.cells.iloc[:0]
    a, b = (
        _by_key(c.groups.get(place, empty), ["seed"] if "seed" in c.cells else [], metric)
        for place in (of, than)
    )
    values = [a[k][1] - b[k][1] for k in a if k in b and a[k][0] == b[k][0] == "finished"]
    lost = sum("diverged" in (a[k][0], b[k][0]) for k in a if k in b)
    if values or a.keys() & b.keys():
        planned = len(a.keys() & b.keys())
        return replace(estimate(values), diverged=lost, planned=planned), True
    return statistics.welch(_finished(a), _finished(b)), False
