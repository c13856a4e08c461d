"""The claims of a study with their verdicts: what was tested, at which level, on what it rests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean

from ablations.study import Claim
from ablations.verdicts import power
from ablations.verdicts.judge import LEAST_FOR_EQUIVALENCE, Evidence, Verdict, failures
from ablations.verdicts.looks import EARLY, FIRST
from ablations.verdicts.pairs import lone_levels, select
from ablations.verdicts.statistics import estimate
from reports.numbers.join import Collected
from reports.pages.document import Block, Column, Interval, Items, Section, Strong, Table, text_columns
from reports.words import listed, number, spread, unit

DECIMALS, FINE = 2, 4
"""Decimals of differences where all are of errors in percent, and where any is not."""

CAPTION = (
    "Differences of the metric (of errors: in points), paired by seed. A claim is judged by its interval against "
    "its margin; where runs diverged by exact ranks, and where it says that runs fail by how many do. What holds: "
    "whenever one looks, in at most 5 % of studies is any of these verdicts false, as long as the seeds planned now "
    "were planned at first and the errors of both groups are spread alike. What goes wrong with one seed in ten is "
    "unseen in 59 % of sets of five; no verdict speaks of it. The confidence of a claim follows from Holm's method "
    "in the family of all claims of the study, with data or without, and from the share of this look. The intervals "
    "belong to the verdicts: they do not cover all at once, and of a claim over several levels it is the one that "
    "decides. Verdicts are about these test images, with new seeds; the interval on new images is for seeds and "
    "images that are both new."
)


def claims(c: Collected) -> Section:
    """A verdict per claim, with what it rests on."""
    if not c.verdicts:
        return Section("Claims", ())
    decimals = DECIMALS if all(unit(verdict.claim.metric) for verdict in c.verdicts) else FINE
    columns = [
        *text_columns("claim", "verdict"),
        Column("difference", decimals),
        Column("interval", decimals),
    ]
    columns += [Column("confidence, %", 2), Column("on new images", decimals), Column("pairs")]
    rows: list[list[object]] = []
    notes = []
    levels: list[list[object]] = []
    for verdict in c.verdicts:
        claim, difference, shown = verdict.claim, verdict.difference, verdict.shown
        judged = not math.isnan(difference.low)
        rows.append([claim.sentence, Strong(verdict.word)])
        rows[-1] += [difference.mean if difference.n else None, Interval(difference)]
        rows[-1] += [100 * difference.level if judged else None]
        rows[-1] += [Interval(verdict.new_images), _pairs(shown) if shown else None]
        if told := " ".join(_notes(c, verdict)):
            notes.append(f"“{claim.sentence}”: {told}")
        if len(verdict.every) > 1:
            for each in verdict.every:
                e, new = each.pairs.difference, each.pairs.on_new_images
                levels.append([claim.sentence, each.pairs.at, e, Interval(e)])
                levels[-1] += [Interval(new), _pairs(each)]
    blocks: list[Block] = [Table("claims", CAPTION, columns, rows, cards=True), Items(tuple(notes))]
    if levels:
        head = [
            *text_columns("claim", "at"),
            Column("difference", decimals),
            Column("95 % interval", decimals),
        ]
        head += [Column("95 %, new images", decimals), Column("pairs")]
        caption = "The same differences, level by level. These intervals hold one by one."
        blocks.append(Table("claims_by_row", caption, head, levels, cards=True))
    return Section("Claims", tuple(blocks))


def _pairs(evidence: Evidence) -> str:
    """Pairs with a result, of how many; where one diverged, how many have a difference."""
    pairs = evidence.pairs
    text = str(pairs.n) if pairs.n == pairs.planned else f"{pairs.n} of {pairs.planned}"
    finished = pairs.difference.n
    return text if finished == pairs.n else f"{text}, {finished} finished"


def _notes(c: Collected, verdict: Verdict) -> Iterator[str]:
    """Sentences about a verdict: whose margin, which runs count, at which level it was decided, what is missing."""
    claim, shown = verdict.claim, verdict.shown
    if claim.where:
        yield f"{claim.where}."
    if claim.reason:
        yield f"Its margin: {claim.reason}."
    if lone := lone_levels(c.results.values(), c.studied, claim.of, claim.than):
        yield f"Not compared, because one group has no cells there: {listed(lone)}."
    if verdict.word == "untested":
        yield _why_untested(c, verdict)
    if shown is None:
        return
    yield from _over_levels(verdict)
    pairs = shown.pairs
    runs = "runs of the smaller group" if pairs.independent else "pairs"
    if claim.fails is not None:
        of, than = (failures(claim, side) for side in (pairs.of, pairs.than))
        yield f"Runs that fail: {of} of {len(pairs.of)} in the first group, {than} of {len(pairs.than)} in the second."
        if finished := [value for value in pairs.of.values() if math.isfinite(value)]:
            yield f"Where it finished, the first group's error is {spread(estimate(finished), 2)} %."
    elif any(pairs.diverged):
        of, than = pairs.diverged
        text = f"Of {pairs.n} {runs}, {of} diverged in the first group and {than} in the second"
        yield text + (": judged by ranks, a diverged run being the worst." if shown.by_ranks else ".")
    if pairs.independent:
        yield "Not paired, because the two groups share too few seeds: judged once, when all their runs are done."
    if pairs.alone:
        many = "s" * (pairs.alone != 1)
        yield f"Left out, because the other group was not asked for the seed: {pairs.alone} run{many}."
    if pairs.open:
        yield f"{'Runs' if pairs.independent else 'Pairs'} still open: {pairs.open}."
    if claim.within is not None:
        yield from _equivalence(verdict)
    if verdict.word == "smaller than claimed":
        towards = verdict.difference.low > 0 if claim.above is not None else verdict.difference.high < 0
        at = f" at {pairs.at}" if len(verdict.every) > 1 else ""
        yield (
            f"An effect in the claimed direction is there{at}, and it is smaller."
            if towards
            else f"Whether there is any effect in the claimed direction{at} is open."
        )
    if verdict.word == "undecided":
        yield from _undecided(c, verdict)
    if verdict.on_new_images not in (None, verdict.word):
        yield f"On new images of the kind it would be {verdict.on_new_images}."


def _why_untested(c: Collected, verdict: Verdict) -> str:
    if verdict.every:
        return "No pair has finished."
    of, than = (select(c.results.values(), side) for side in (verdict.claim.of, verdict.claim.than))
    return "The two groups have no level in common." if of and than else "No such cells were asked for."


def _over_levels(verdict: Verdict) -> Iterator[str]:
    """At which levels the claim was judged, and which of them decided."""
    claim, every, shown = verdict.claim, verdict.every, verdict.shown
    assert shown is not None
    if claim.over == "mean":
        if shown.difference.n:
            yield f"Judged by {shown.pairs.at}: {shown.difference.n} values, which count as a sample of such levels."
        else:
            yield "There is no mean: it takes two levels, a seed that is complete at each, and no diverged run."
        return
    if len(every) < 2:
        return
    if missing := [each.pairs.at for each in every if not each.pairs.n]:
        yield f"Nothing yet at {listed(missing)}."
    what = {
        "supported": "It holds at each of {count} levels; shown: the least clear, {at}.",
        "undecided": "It must hold at each of {count} levels; shown: the least clear, {at}.",
    }.get(verdict.word, "It must hold at each of {count} levels, and does not at {at}.")
    yield what.format(count=len(every), at=shown.pairs.at)


def _equivalence(verdict: Verdict) -> Iterator[str]:
    """On what "as good" rests, or why nothing is called so."""
    assert verdict.shown is not None
    n = verdict.shown.pairs.n
    if verdict.word == "supported":
        unseen = f"{100 * 0.9**n:.0f} %"
        yield f"It rests on {n} pairs: what goes wrong with one seed in ten is unseen in {unseen} of such sets."
    elif n < LEAST_FOR_EQUIVALENCE and verdict.word == "undecided":
        yield f"With fewer than {LEAST_FOR_EQUIVALENCE} pairs nothing is called as good."


def _undecided(c: Collected, verdict: Verdict) -> Iterator[str]:
    """What an undecided claim would take."""
    shown, difference, claim = verdict.shown, verdict.difference, verdict.claim
    assert shown is not None
    pairs = shown.pairs
    if not pairs.share:
        if not pairs.independent:
            yield f"No verdict before {min(FIRST, max(pairs.planned, 2))} pairs."
        return
    if shown.by_ranks or pairs.independent or claim.over == "mean":
        return
    if difference.sd == 0:
        yield f"All {pairs.n} pairs differ by the same amount: there is no spread to judge by."
        return
    if limit := _chance(c, verdict):
        yield limit
        return
    level = 1 - (1 - difference.level) / pairs.share * (1 - EARLY)  # that of the last look
    points = "points" if unit(claim.metric) else ""
    smallest = f"{number(power.resolvable(difference.sd, difference.n, level), 2)} {points}".rstrip()
    yield f"{difference.n} pairs with this spread show a difference of {smallest} in four studies of five."
    needed = power.seeds_needed(difference.sd, _gap(claim, difference.mean), level)
    least = LEAST_FOR_EQUIVALENCE if claim.within is not None else 0
    if needed and max(needed, least) > pairs.n:
        yield f"If this difference is the true one, about {max(needed, least)} pairs would settle it."


def _gap(claim: Claim, mean: float) -> float:
    """From a mean to the margin."""
    if claim.within is not None:
        return abs(abs(mean) - claim.margin)
    return abs(mean + claim.margin if claim.below is not None else mean - claim.margin)


def _chance(c: Collected, verdict: Verdict) -> str:
    """Why no number of pairs could show what is claimed; "" if one could."""
    claim, shown = verdict.claim, verdict.shown
    if shown is None or not claim.metric.endswith("/error") or "data.classes" not in c.cells:
        return ""
    chance = 100 * (1 - 1 / float(c.cells["data.classes"].max()))
    of, than = (fmean(side.values()) for side in (shown.pairs.of, shown.pairs.than))
    text = f"of {number(than, 1)}{unit(claim.metric)}"
    if claim.within is None and min(of, than) > chance - 1:
        return f"Both groups are at chance level ({chance:.0f} %): no number of pairs would settle this."
    if claim.above and than + claim.above > chance:
        return f"From an error {text} there are less than {claim.above:g} points to chance level ({chance:.0f} %)."
    if claim.below and claim.below > than:
        return f"An error {text} cannot be lower by {claim.below:g} points."
    return ""
