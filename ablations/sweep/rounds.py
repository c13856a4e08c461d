"""Which cells a sweep runs next so that its claims are settled: a pure function of manifest and records.

A claim is open as long as no word is shown for it (ablations.verdicts) and more seeds may still show one. Its next step
is as many pairs as would decide it more likely than not. A round holds the next steps of the open claims, those first
that are likeliest to be settled per device-hour, as far as the budget goes. Nothing random decides: the same records
give the same next round.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ablations.study import Claim, Study
from ablations.sweep.estimate import used_hours
from ablations.sweep.manifest import Manifest
from ablations.sweep.results import factors, results
from ablations.verdicts.forecast import LOOK_FIRST, forecast
from ablations.verdicts.judge import Verdict, Word, judge
from ablations.verdicts.looks import FIRST
from ablations.verdicts.pairs import Pairs, groups, pairs
from ablations.verdicts.results import Result
from lightning_module.cell.record import FINAL, Record
from lightning_module.support.text import counted

LIKELY = 0.5
"""Chance of being decided from which on a number of pairs is worth running for."""

FUTILE = 0.05
"""Chance of being decided by all seeds below which a claim is out of their reach."""


State = Literal["open", "settled", "out of reach", "beyond the budget", "held up", "used up"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Step:
    """A claim in a round: its sentence, its verdict so far, where it stands, and why, in one sentence.

    pairs: that it is to have at each of its levels after its next step. chance: of being decided then. hours: of a
    device, that the cells of this step are expected to take which have no result yet. 0 where nothing is open.
    """

    claim: str
    word: Word
    state: State
    said: str
    pairs: int = 0
    chance: float = 0.0
    hours: float = 0.0


@dataclass(frozen=True)
class Round:
    """A decision.

    number: from 1. cells: identities of those that run. claims: every one of the study. expected: device-hours of these
    cells. used: by cells that earlier rounds chose. whole: that all seeds would take. budget: device-hours in all, None
    without a limit. end: why no further round follows, "" if one does.
    """

    number: int
    cells: tuple[str, ...]
    claims: tuple[Step, ...]
    expected: float = 0.0
    used: float = 0.0
    whole: float = 0.0
    budget: float | None = None
    end: str = ""

    @property
    def open(self) -> list[str]:
        """The claims that more seeds may still settle."""
        return [step.claim for step in self.claims if step.state == "open"]

    def to_json(self) -> dict[str, Any]:
        """The round as an entry of a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Round:
        """The round of such an entry."""
        steps = tuple(Step(**step) for step in entry["claims"])
        return cls(**{**entry, "cells": tuple(entry["cells"]), "claims": steps})


@dataclass(frozen=True)
class Standing:
    """What a decision is made from.

    results: of every cell. studied: the keys that may tell cells apart. prices: identity -> expected device-hours.
    used: identity -> device-hours in its record. names: identity -> name. rounds: before, the latest last. retry:
    whether cells that failed are tried again; otherwise they hold up their claims.
    """

    claims: Sequence[Claim]
    results: Sequence[Result]
    studied: Sequence[str]
    prices: Mapping[str, float]
    used: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    rounds: Sequence[Round] = ()
    budget: float | None = None
    retry: bool = False


def standing(
    manifest: Manifest,
    study: Study,
    records: Mapping[str, Record],
    prices: Mapping[str, float],
    budget: float | None = None,
    retry: bool = False,
) -> Standing:
    """Where a sweep of a study stands. prices, budget, retry: see Standing."""
    return Standing(
        study.claims,
        results(manifest, study, records),
        factors(manifest, study),
        prices,
        {name: used_hours(known) for name, known in records.items()},
        {cell["identity"]: cell["name"] for cell in manifest.cells},
        tuple(map(Round.from_json, manifest.rounds)),
        budget,
        retry,
    )


@dataclass(frozen=True)
class _Wanted:
    """A claim on its way into a round. cells: without a result, of its next step."""

    step: Step
    cells: tuple[str, ...] = ()


def next_round(now: Standing) -> Round:
    """The next round; the last one again if its cells have not all ended."""
    before = [each for each in now.rounds if not each.end]
    states = {each.identity: each.state for each in now.results}
    ended = {*FINAL, "damaged", *([] if now.retry else ["failed"])}
    if (
        before
        and before[-1].budget == now.budget
        and any(states.get(name, "finished") not in ended for name in before[-1].cells)
    ):
        return before[-1]
    chosen = {name for each in before for name in each.cells}
    used = sum(now.used.get(name, 0.0) for name in sorted(chosen))
    lost = {name for name, state in states.items() if state == "damaged"}
    if not now.retry:
        lost |= {name for name in chosen if states.get(name) == "failed"}
    left = math.inf if now.budget is None else max(0.0, now.budget - used)
    at = [groups(now.results, now.studied, claim.of, claim.than) for claim in now.claims]
    parts = [
        [pairs(of, than, claim.metric, name) for name, of, than in levels]
        for claim, levels in zip(now.claims, at, strict=True)
    ]
    wanted = [
        _next_step(verdict, known, [_further(of, than) for _, of, than in levels], lost, left, now)
        for verdict, known, levels in zip(judge(now.claims, parts), parts, at, strict=True)
    ]
    cells, expected = _joined([each for each in wanted if each.cells], left, now.prices)
    order = tuple(each.identity for each in now.results if each.identity in cells)
    steps = tuple(each.step for each in wanted)
    end = "" if cells else _end(steps)
    return Round(len(before) + 1, order, steps, expected, used, _whole(now), now.budget, end)


def _whole(now: Standing) -> float:
    """Device-hours of all cells: that were used, or that are expected where there is no result."""
    return sum(
        now.used.get(each.identity, 0.0) if each.state in FINAL else now.prices[each.identity]
        for each in now.results
    )


def _end(steps: Sequence[Step]) -> str:
    """How the claims stand: "4 of 6 claims settled, 2 out of reach"."""
    count = Counter(step.state for step in steps)
    rest = [f"{count[state]} {state}" for state in STATES if count[state] and state != "settled"]
    return ", ".join([f"{count['settled']} of {counted(len(steps), 'claim')} settled", *rest])


def _next_step(
    verdict: Verdict,
    parts: Sequence[Pairs],
    further: Sequence[Sequence[Sequence[str]]],
    lost: Collection[str],
    left: float,
    now: Standing,
) -> _Wanted:
    """What a claim needs next, or why it needs nothing. further: for each level, the cells of each further pair."""

    def closed(state: State, said: str) -> _Wanted:
        return _Wanted(Step(verdict.claim.sentence, verdict.word, state, said))

    if not parts:
        return closed("out of reach", "the sweep has no cells of it")
    fewest = min(known.n for known in parts)
    if verdict.word not in ("undecided", "untested"):
        return closed("settled", f"{verdict.word} after {counted(fewest, 'pair')}")
    if len(verdict.every) == len(parts):  # a level at which the claim is shown needs no more
        further = [
            [] if 2 * e.p_for <= verdict.alpha else more
            for e, more in zip(verdict.every, further, strict=True)
        ]

    def at(target: int) -> list[int]:
        """Pairs at each level, once there are as many as this where more are to come."""
        return [
            max(known.n, min(target, known.planned, known.n + len(more)))
            for known, more in zip(parts, further, strict=True)
        ]

    if not any(further):
        return closed("used up", f"{verdict.word} after all {counted(fewest, 'pair')} there are")
    most = max(n for n, more in zip(at(sys.maxsize), further, strict=True) if more)
    reach = forecast(verdict, parts, at(most)).best
    if reach == 0 and (most < 2 or any(any(known.diverged) for known in parts)):
        said = f"nothing that the rest of {counted(most, 'seed')} can bring decides it"
        return closed("out of reach", said)
    if reach < FUTILE:
        return closed(
            "out of reach",
            f"even {counted(most, 'seed')} would decide it with a chance of {_percent(reach)}",
        )
    fewest = min(known.n for known, more in zip(parts, further, strict=True) if more)
    for target in range(max(fewest + 1, min(FIRST, most)), most + 1):
        likely = forecast(verdict, parts, at(target))
        if likely.chance >= LIKELY:
            break
    rows = zip(parts, further, at(target), strict=True)
    cells = tuple(
        dict.fromkeys(name for known, more, n in rows for pair in more[: n - known.n] for name in pair)
    )
    if failed := [now.names.get(name, name) for name in cells if name in lost]:
        return closed("held up", f"{', '.join(failed)} ended without a result")
    hours = sum(now.prices[name] for name in cells)
    if hours > left:
        return closed(
            "beyond the budget",
            f"its next {counted(len(cells), 'cell')} would take {hours:.3g} h, and {left:.3g} h are left",
        )
    said = f"{counted(target, 'pair')} would decide it with a chance of {_percent(likely.chance)}"
    if likely is LOOK_FIRST:
        said = f"nothing is known of its spread; a look at {counted(target, 'pair')} comes first"
    return _Wanted(
        Step(verdict.claim.sentence, verdict.word, "open", said, target, likely.chance, hours), cells
    )


def _further(of: Sequence[Result], than: Sequence[Result]) -> list[list[str]]:
    """What is left to run for each further pair of a level, the lowest seeds first."""
    first, second = ({each.levels["seed"]: each for each in side} for side in (of, than))
    common = first.keys() & second.keys()
    sides = ([side[seed] for seed in sorted(common or side)] for side in (first, second))
    left = ([each.identity for each in pair if each.state not in FINAL] for pair in zip(*sides, strict=False))
    return [pair for pair in left if pair]


def _joined(claims: Iterable[_Wanted], left: float, prices: Mapping[str, float]) -> tuple[set[str], float]:
    """The cells of as many claims as the budget takes, the likeliest per hour first; what is shared is paid once."""
    waiting, cells, expected = list(claims), set[str](), 0.0
    while waiting:
        hours = [sum(prices[name] for name in each.cells if name not in cells) for each in waiting]
        best = max(range(len(waiting)), key=lambda i: (waiting[i].step.chance / max(hours[i], 1e-12), -i))
        if expected + hours[best] <= left:
            cells |= set(waiting[best].cells)
            expected += hours[best]
        del waiting[best]
    return cells, expected


def _percent(chance: float) -> str:
    return f"{100 * chance:.0f} %" if chance >= 0.005 else "less than 1 %"
