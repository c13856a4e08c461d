"""The claims of a study with their verdicts: what was tested, at which level, on what it rests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ablations.study import Claim
from ablations.verdicts import power
from ablations.verdicts.judge import LEAST_FOR_EQUIVALENCE, Evidence, Verdict
from ablations.verdicts.looks import EARLY, FIRST
from ablations.verdicts.pairs import select
from reports.numbers.join import Collected
from reports.pages.document import Block, Column, Items, Section, Strong, Table, text_columns
from reports.words import interval, listed, metric_name, number, unit

CAPTION = (
    "Differences of the metric (of errors: in points), paired by seed. A claim is judged by its interval against its "
    "margin. What holds: in at most 5 % of studies is any of these verdicts false, at whatever time one looks. The "
    "level of a claim is Holm's in the family of all claims of the study, whether or not they have data yet, times the "
    "share of this look. The intervals belong to the verdicts, one by one; they do not cover all at once. Verdicts are "
    "about these test images, with new seeds; the interval on new images is for seeds and images that are both new."
)


def claims(c: Collected) -> Section:
    """A verdict per claim, with what it rests on."""
    if not c.verdicts:
        return Section("Claims", ())
    columns = [*text_columns("claim", "verdict"), Column("difference", 2), Column("interval")]
    columns += [Column("its level, %", 2), Column("on new images"), Column("pairs")]
    rows: list[list[object]] = []
    notes = []
    levels: list[list[object]] = []
    for verdict in c.verdicts:
        claim, difference, shown = verdict.claim, verdict.difference, verdict.shown
        judged = not math.isnan(difference.low)
        rows.append([claim.sentence, Strong(verdict.word), difference.mean if difference.n else None])
        rows[-1] += [interval(difference, 2), 100 * difference.level if judged else None]
        rows[-1] += [interval(verdict.new_images, 2), _pairs(shown) if shown else None]
        if told := " ".join(_notes(c, verdict)):
            notes.append(f"“{claim.text}”: {told}")
        if len(verdict.every) > 1:
            for each in verdict.every:
                e, new = each.pairs.difference, each.pairs.on_new_images
                levels.append([claim.text, each.pairs.at, e, interval(e, 2), interval(new, 2), _pairs(each)])
    blocks: list[Block] = [Table("claims", CAPTION, columns, rows), Items(tuple(notes))]
    if levels:
        head = [*text_columns("claim", "at"), Column("difference", 2), Column("95 % interval")]
        head += [Column("95 %, new images"), Column("pairs")]
        caption = "The same differences, level by level. These intervals hold one by one."
        blocks.append(Table("claims_by_row", caption, head, levels))
    return Section("Claims", tuple(blocks))


def _pairs(evidence: Evidence) -> str:
    n, planned = evidence.pairs.n, evidence.pairs.planned
    return str(n) if n == planned else f"{n} of {planned}"


def _notes(c: Collected, verdict: Verdict) -> Iterator[str]:
    """Sentences about a verdict: whose margin, which runs count, at which level it was decided, what is missing."""
    claim, shown = verdict.claim, verdict.shown
    if claim.where:
        yield f"{claim.where}."
    if claim.reason:
        yield f"Its margin: {claim.reason}."
    if verdict.word == "untested":
        yield _why_untested(c, verdict)
    if shown is None:
        return
    yield from _over_levels(verdict)
    pairs = shown.pairs
    if claim.fails is not None:
        yield f"Shown: the {metric_name(claim.metric)} of the first group."
    if any(pairs.diverged):
        of, than = pairs.diverged
        counted = "pairs" if pairs.paired else "runs on each side"
        yield f"Of {pairs.n} {counted}, {of} diverged in the first group, {than} in the second"
        if shown.by_ranks:
            how = (
                "how many runs of each failed"
                if claim.fails is not None
                else "ranks, a diverged run being the worst"
            )
            yield f"; judged exactly, by {how}."
        else:
            yield "."
    if not pairs.paired:
        yield "Not paired: the two groups share no seeds."
    if pairs.alone:
        yield f"Runs whose seed the other group has not, left out: {pairs.alone}."
    if pairs.open:
        yield f"Pairs still open: {pairs.open}."
    if claim.within is not None:
        yield from _equivalence(verdict)
    if verdict.word == "smaller than claimed" and not math.isnan(verdict.difference.low):
        towards = verdict.difference.low > 0 if claim.above is not None else verdict.difference.high < 0
        yield (
            "An effect in the claimed direction is there, and it is smaller."
            if towards
            else "Whether there is any effect in the claimed direction is open."
        )
    if verdict.word == "undecided":
        yield from _undecided(c, verdict)
    if verdict.on_new_images not in (None, verdict.word):
        yield f"On new images of the kind it would be {verdict.on_new_images}."


def _why_untested(c: Collected, verdict: Verdict) -> str:
    if verdict.every:
        return "No pair has finished."
    of, than = (select(list(c.results.values()), side) for side in (verdict.claim.of, verdict.claim.than))
    return "The two groups have no level in common." if of and than else "No such cells were asked for."


def _over_levels(verdict: Verdict) -> Iterator[str]:
    """At which levels the claim was judged, and which of them decided."""
    claim, every, shown = verdict.claim, verdict.every, verdict.shown
    assert shown is not None
    if claim.over == "mean":
        if len(every) == 1:
            yield f"Of {shown.pairs.at}, which count as a sample."
        else:
            yield "Its mean needs a seed that is complete at every level, and no diverged run."
    if len(every) < 2:
        return
    if missing := [each.pairs.at for each in every if not each.pairs.n]:
        yield f"Nothing yet at {listed(missing)}."
    if claim.over == "each":
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
    shown, difference = verdict.shown, verdict.difference
    assert shown is not None
    n, claim = shown.pairs.n, verdict.claim
    if not shown.share:
        yield f"No verdict before {min(FIRST, max(shown.pairs.planned, 2))} pairs."
        return
    if shown.by_ranks or math.isnan(difference.sd):
        return
    if difference.sd == 0:
        yield f"All {n} pairs differ by the same amount: there is no spread to judge by."
        return
    if limit := _chance(c, verdict):
        yield limit
        return
    level = 1 - (1 - difference.level) / shown.share * (1 - EARLY)  # that of the last look
    smallest = power.resolvable(difference.sd, difference.n, level)
    text = f"So many pairs resolve {number(smallest, 2)} at the last look"
    needed = power.seeds_needed(difference.sd, _gap(claim, difference.mean), level)
    yield text + (f"; about {needed} would settle this." if needed and needed > difference.n else ".")


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
    of, than = (_mean(list(side.values())) for side in (shown.pairs.of, shown.pairs.than))
    text = f"of {number(than, 1)}{unit(claim.metric)}"
    if min(of, than) > chance - 1:
        return f"Both groups are at chance level ({chance:.0f} %): no number of pairs would settle this."
    if claim.above and than + claim.above > chance:
        return f"From an error {text} there are less than {claim.above:g} points to chance level ({chance:.0f} %)."
    if claim.below and claim.below > than:
        return f"An error {text} cannot be lower by {claim.below:g} points."
    return ""


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
