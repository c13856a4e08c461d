"""The answer on the first screen: reservations, verdicts with what they rest on, and the best place."""

from __future__ import annotations

import math
from collections import Counter

from ablations.study import HIGHER_IS_BETTER
from ablations.verdicts.judge import WORDS, Verdict, failures
from ablations.verdicts.pairs import Pairs
from lightning_module.support.text import counted
from reports.numbers.deviations import changes, departed, lost_study, more_seeds
from reports.numbers.join import Collected, Place
from reports.pages.document import Block, Inline, Items, SectionLink, Strong, Text
from reports.words import capital, interval, listed, metric_name, number, series, spread, unit

FEW = 4
"""Deviations and claims up to which the answer names each."""


def reservations(c: Collected) -> list[Text]:
    """One line above the answer: that this is not the study's own protocol, or not all of it, or more, or lost."""
    if c.manifest.study and c.study is None:
        return [Text((f"{lost_study(c.manifest)}.",), "warning")]
    said = [f"other {listed(departed(c.manifest))}"] if changes(c) else []
    said += ["a part of its cells"] * bool(c.manifest.narrowed) + ["more seeds"] * bool(more_seeds(c))
    if not said:
        return []
    where = (" (", SectionLink("Protocol and deviations"), ").")
    if changes(c):
        return [Text((Strong("Not the study's own protocol"), f": {listed(said)}", *where), "warning")]
    return [Text((f"Against the study as it is written: {listed(said)}", *where), "note")]


def answer(c: Collected) -> tuple[Block, ...]:
    """The verdicts, those that say most with their numbers, and the best place."""
    best = best_place(c)
    sentence = f"{best[1]}." if best else _without_a_best(c)
    if not c.verdicts:
        return (Text(sentence, "lead"),)
    items = [Items(tuple(map(_told, telling)))] if (telling := _telling(c)) else []
    return (Text(_verdict_sentence(c), "lead"), *items, Text(sentence))


def _verdict_sentence(c: Collected) -> Inline:
    count = Counter(verdict.word for verdict in c.verdicts)
    parts: list[Inline] = [
        (f"{count[word]} {'is' if count[word] == 1 else 'are'} ", Strong(word))
        for word in WORDS
        if count[word]
    ]
    all_of = f"{'of' if c.is_open else 'Of'} {len(c.verdicts)} claims "
    if len(count) == 1:
        claims = {1: "the claim is ", 2: "both claims are "}
        which = claims.get(len(c.verdicts), f"all {len(c.verdicts)} claims are ")
        all_of, parts = which if c.is_open else capital(which), [Strong(c.verdicts[0].word)]
    more = (" All of them: ", SectionLink("Claims"), ".") if len(c.verdicts) > FEW else ()
    return "So far, " * c.is_open + all_of, *series(parts), ".", *more


def _telling(c: Collected) -> list[Verdict]:
    """The verdicts that are shown at once: all of a few; of more those that are decided, the largest effects."""
    tested = [(verdict, verdict.shown.pairs) for verdict in c.verdicts if verdict.shown]

    def rank(told: tuple[Verdict, Pairs]) -> tuple[bool, float]:
        verdict, pairs = told
        # A run that diverged has no difference, and no effect is larger.
        effect = math.inf if any(pairs.diverged) else abs(verdict.difference.mean)
        return verdict.word == "undecided", -effect

    few = len(c.verdicts) <= FEW
    shown = c.verdicts if few else [verdict for verdict, _ in sorted(tested, key=rank)[:FEW]]
    return [verdict for verdict in c.verdicts if verdict in shown]


def _told(verdict: Verdict) -> Inline:
    rests_on = _rests_on(verdict)
    return Strong(capital(verdict.word)), f": {verdict.claim.sentence}{'. ' * bool(rests_on)}{rests_on}"


def _rests_on(verdict: Verdict) -> str:
    """What a verdict was read off: how many runs failed or diverged, or the difference; "" where nothing is known."""
    claim, difference, shown = verdict.claim, verdict.difference, verdict.shown
    if shown is None:
        return ""
    pairs, each = shown.pairs, len(verdict.every) > 1 and claim.over == "each"
    at = f" at {pairs.at}" if each else ""
    if claim.fails is not None or any(pairs.diverged):
        what = "diverged" if claim.fails is None else "failed"
        of, than = (
            pairs.diverged if claim.fails is None else (failures(claim, s) for s in (pairs.of, pairs.than))
        )
        return f"Runs that {what}{at}: {of} of {len(pairs.of)} against {than} of {len(pairs.than)}"
    if not difference.n:
        return ""
    decimals, points = (2, " points") if unit(claim.metric) else (4, "")
    bounds = "" if math.isnan(difference.low) else f" {interval(difference, decimals)}"
    count = f"{len(pairs.of)} and {len(pairs.than)} runs" if pairs.independent else counted(pairs.n, "pair")
    count = counted(difference.n, "level") if claim.over == "mean" else count
    shift = f"{'+' * (difference.mean > 0)}{number(difference.mean, decimals)}{points}{bounds}"
    return f"{capital(metric_name(claim.metric))} differs{at} by {shift}, {count}"


def best_place(c: Collected) -> tuple[Place, str] | None:
    """The place with the best mean, the first that was asked for if several have it, and what is said of it."""
    means = {place: mean for place in c.places if (mean := place.mean(c.metric)).n}
    if not means:
        return None
    word, sign = ("highest", -1) if c.metric in HIGHER_IS_BETTER else ("lowest", 1)
    trained = {place: mean for place, mean in means.items() if not mean.diverged} or means
    best = min(trained, key=lambda place: (sign * trained[place].mean, place.cells.index[0]))
    among = " where no run diverged" if len(trained) < len(means) else ""
    text = f"The {word} {metric_name(c.metric)}{among} is {spread(means[best], 2)}{unit(c.metric)}"
    others = sum(mean.mean == means[best].mean for mean in trained.values()) - 1
    as_good = f"; {others} more reach{'es' * (others == 1)} it" * bool(others)
    return best, f"{text} ({best.text}, n = {means[best].n}{as_good})"


def _without_a_best(c: Collected) -> str:
    """Why there is none."""
    states = set(c.cells["state"])
    if "finished" in states:
        return f"No finished cell has logged its {metric_name(c.metric)}."
    return "Every run diverged." if states == {"diverged"} else "No cell has finished."
