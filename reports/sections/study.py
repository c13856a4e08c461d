"""The sections that only a study's report has: answer, claims, differences, against the paper, threats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ablations.study import HIGHER_IS_BETTER, Published
from reports.numbers import statistics
from reports.numbers.deviations import changes, more_seeds, narrowed
from reports.numbers.join import Collected, Level, key_text, value_text
from reports.numbers.verdicts import Verdict, baseline_comparison, select
from reports.pages.document import Block, Column, Items, Section, Table, Text, interval, number, spread
from reports.sections.tables import (
    MILLION,
    listed,
    metric_name,
    metric_text,
    place_cells,
    place_columns,
    place_text,
    unit,
)

FEW = 4
"""Deviations and claims up to which the answer names each."""

STATISTICS = {
    "mean": "mean",
    "median": "median",
    "best": "best",
    "single": "a single run",
    "reported": "not said of which runs",
}


def answer(c: Collected, verdicts: list[Verdict]) -> list[Block]:
    """The deviations, if any, then the answer in two sentences: the verdicts and the best place."""
    blocks: list[Block] = []
    if different := changes(c):
        rest = len(different) - FEW
        shown = different[:FEW] + ([f"{rest} more, under “Protocol and deviations”"] if rest > 0 else [])
        blocks.append(
            Text(
                f"This is not the study's own protocol: {listed(shown)}. What stands below is true of "
                "that, and says nothing about the paper's numbers.",
                "warning",
            )
        )
    if part := narrowed(c):
        blocks.append(Text(f"Only a part of the study's cells: {listed(part)}.", "note"))
    if seeds := more_seeds(c):
        blocks.append(Text(f"More seeds than the study's own: {listed(map(str, seeds))}.", "note"))
    blocks.append(Text(" ".join(filter(None, [_verdict_sentence(c, verdicts), _best_sentence(c)])), "lead"))
    return blocks


def _verdict_sentence(c: Collected, verdicts: list[Verdict]) -> str:
    if not verdicts:
        return ""
    so_far = "So far, " if c.is_open else ""
    words: dict[str, list[str]] = {"supported": [], "contradicted": [], "undecided": [], "untested": []}
    for verdict in verdicts:
        words[verdict.word].append(f"“{verdict.claim.text}”")
    found = {word: texts for word, texts in words.items() if texts}
    if len(verdicts) > FEW:
        of = f"{'of' if so_far else 'Of'} {len(verdicts)} claims "
        counted = [
            f"{len(texts)} {'is' if len(texts) == 1 else 'are'} **{word}**" for word, texts in found.items()
        ]
        return f"{so_far}{of}{listed(counted)}."
    parts = [
        f"{listed(texts)} {'is' if len(texts) == 1 else 'are'} **{word}**" for word, texts in found.items()
    ]
    return so_far + "; ".join(parts) + "."


def _best_sentence(c: Collected) -> str:
    """The place with the best metric, and its difference from the baseline in its row."""
    means = c.estimates(c.metric)
    finished = {place: e for place, e in means.items() if e.n}
    if not finished:
        return "No cell has finished."
    highest = c.metric in HIGHER_IS_BETTER
    best = (max if highest else min)(finished, key=lambda place: finished[place].mean)
    e = finished[best]
    text = f"The {'highest' if highest else 'lowest'} {metric_name(c.metric)} is {spread(e, 2)}"
    text += f"{unit(c.metric)} ({place_text(c, best)}, n = {e.n})"
    reference = baseline(c, best)
    if reference is None or reference == best or reference not in finished:
        return text + "."
    e, _ = baseline_comparison(c, best, reference, c.metric)
    if not e.n:
        return text + "."
    bounds = "" if math.isnan(e.low) else f", 95 % interval {interval(e, 2)}"
    return (
        text + f"; its difference from the baseline, {place_text(c, reference)}, is "
        f"{number(e.mean, 2)}{' points' if unit(c.metric) else ''}{bounds}."
    )


def baseline(c: Collected, place: tuple[Level, Level]) -> tuple[Level, Level] | None:
    """What a place is compared with: the study's baseline at the place's other levels, if it is one cell."""
    if c.study is None or c.study.baseline is None:
        return None
    levels = dict(zip((*c.row_keys, *c.column_keys), place[0] + place[1], strict=True))
    if isinstance(c.study.baseline, Mapping):
        typed = [key for key in levels if key not in c.study.factors]
        shared = {key: levels[key] for key in (c.study.rows, c.study.columns, *typed) if key}
        cells = select(c.cells, {**shared, **c.study.baseline})
        found = list(dict.fromkeys(zip(cells["row"], cells["column"], strict=True)))
        return found[0] if len(found) == 1 else None
    levels[c.study.columns or c.study.rows] = c.study.baseline
    row, column = (tuple(levels[key] for key in keys) for keys in (c.row_keys, c.column_keys))
    return (row, column) if (row, column) in c.groups else None


def baseline_text(c: Collected) -> str:
    """The baseline for people: "shortcut A", "shortcut type identity, shortcut A"."""
    assert c.study
    level = c.study.baseline
    levels = level if isinstance(level, Mapping) else {c.study.columns or c.study.rows: level}
    return ", ".join(f"{key_text(key)} {value_text(value)}" for key, value in levels.items())


def claims(c: Collected, verdicts: list[Verdict]) -> Section:
    """A verdict per claim, with what it rests on."""
    columns = [Column("claim", left=True), Column("verdict", left=True), Column("difference", 2)]
    columns += [Column("interval"), Column("its level, %", 1), Column("margin"), Column("pairs")]
    rows: list[list[object]] = []
    notes = []
    for verdict in verdicts:
        claim, e = verdict.claim, verdict.difference
        mean, pairs = e.mean if e.n else None, verdict.comparison.pooled.n
        evidence = [mean, interval(e, 2), 100 * e.level, margin_text(claim), pairs]
        rows.append([claim.text, f"**{verdict.word}**", *evidence])
        if verdict.note or claim.where:
            where = f" ({claim.where})" if claim.where and verdict.note else ""
            notes.append(f"“{claim.text}”{where}: {verdict.note or claim.where + '.'}")
    caption = (
        "Differences of the metric (of errors: in points), paired by seed and by every factor that a claim "
        "leaves free. A claim is judged by its interval against its margin; the levels are Holm's, so that "
        "95 % holds for all of them together."
    )
    parts = [
        [verdict.claim.text, name, e, interval(e, 2), e.n]
        for verdict in verdicts
        if len(verdict.comparison.parts) > 1
        for name, e in verdict.comparison.parts.items()
    ]
    blocks: list[Block] = (
        [Table("claims", caption, tuple(columns), rows), Items(tuple(notes))] if rows else []
    )
    if parts:
        head = [Column("claim", left=True), Column("at", left=True), Column("difference", 2)]
        head += [Column("95 % interval"), Column("pairs")]
        blocks.append(Table("claims_by_row", "The same differences, group by group.", tuple(head), parts))
    return Section("Claims", tuple(blocks))


def margin_text(claim: Any) -> str:
    """The margin of a claim: "≤ −0.50", "≥ 0", "within ±0.50"."""
    if claim.within is not None:
        return f"within ±{claim.within:g}"
    if claim.below is not None:
        return f"≤ −{claim.below:g}" if claim.below else "below 0"
    return f"≥ {claim.above:g}" if claim.above else "above 0"


def differences(c: Collected) -> Section:
    """Every place against the baseline."""
    rows = []
    for row in c.rows:
        for column in c.columns:
            reference = baseline(c, (row, column))
            if (row, column) not in c.groups or reference is None or reference == (row, column):
                continue
            e, paired = baseline_comparison(c, (row, column), reference, c.metric)
            mine, other = c.groups[row, column], c.groups[reference]
            rows.append(
                [
                    *place_cells(c, row, column),
                    e,
                    interval(e, 2),
                    f"{e.n}" if paired else "not paired",
                    statistics.resolvable(e.sd, e.n) if e.n > 1 and paired else None,
                    (mine["parameters"].iloc[0] - other["parameters"].iloc[0]) / MILLION,
                    _percent(mine["multiply_adds"].iloc[0], other["multiply_adds"].iloc[0]),
                    _percent(_finished_mean(mine, "seconds"), _finished_mean(other, "seconds")),
                ]
            )
    if not rows:
        return Section("", ())
    columns = place_columns(c)
    columns += [
        Column("difference", 2),
        Column("95 % interval"),
        Column("pairs"),
        Column("resolvable", 2),
        Column("Δ parameters, M", 3),
        Column("Δ multiply-adds, %", 1),
        Column("Δ time, %", 1),
    ]
    caption = (
        f"Difference from {baseline_text(c)}{' in points' if unit(c.metric) else ''} "
        f"of {metric_name(c.metric)}, mean ± standard deviation over pairs of one seed. "
        "Resolvable: the smallest true difference that as many pairs with this spread would show four times "
        "in five."
    )
    return Section("Differences from the baseline", (Table("differences", caption, tuple(columns), rows),))


def published_for(c: Collected, place: tuple[Level, Level]) -> list[Published]:
    """The paper's numbers for a place, those of the study's metric first."""
    group = c.groups.get(place)
    if c.study is None or group is None:
        return []
    found = [p for p in c.study.published if len(select(group, p.levels))]
    return sorted(found, key=lambda p: p.metric != c.metric)


def against_paper(c: Collected) -> Section:
    """The paper's numbers beside ours, with what each is and how its protocol differs."""
    if c.study is None or not c.study.published:
        text = "There is no published number for any cell of this study."
        return Section("Against the paper", (Text(text),) if c.study else ())
    comparable = not changes(c)
    printed = {place: published_for(c, place) for place in c.places}
    every = [p for found in printed.values() for p in found]
    differs = list(dict.fromkeys(p.differs for p in every if p.differs))
    metrics = list(dict.fromkeys([c.metric, *(p.metric for p in every)]))
    several = len(metrics) > 1
    rows: list[list[object]] = []
    for place, found in printed.items():
        head = place_cells(c, *place)
        for p in found:
            ours = c.estimates(p.metric)[place]
            of = f" of {p.runs}" if p.runs and p.statistic != "single" else ""
            gap = ours.mean - p.value if ours.n and comparable and not p.bound else None
            which = differs.index(p.differs) + 1 if p.differs else None
            values = [ours, p.text, gap, STATISTICS[p.statistic] + of, p.where, which]
            rows.append([*head, *[metric_text(p.metric)] * several, *values])
        if not found:
            values = [c.estimates(c.metric)[place], None, None, "no published number", "", None]
            rows.append([*head, *[metric_text(c.metric)] * several, *values])
    columns = place_columns(c) + [Column("metric", left=True)] * several
    columns += [Column("ours", 2), Column("paper"), Column("difference", 2)]
    columns += [Column("the paper's number is", left=True), Column("where", left=True)]
    columns.append(Column("its protocol differs"))
    metric = metric_text(c.metric)
    caption = "" if several else f"{metric[:1].upper()}{metric[1:]}. "
    caption += "Ours: mean ± standard deviation over seeds, last epoch."
    note = " ".join(f"({number}) {text}." for number, text in enumerate(differs, start=1))
    blocks: list[Block] = [
        Table("against_paper", caption, tuple(columns), rows, f"Its protocol differs: {note}" if note else "")
    ]
    if not comparable:
        blocks.insert(
            0, Text("The paper's numbers are for another protocol and are not comparable here.", "warning")
        )
    return Section("Against the paper", tuple(blocks))


def _percent(value: float, reference: float) -> float | None:
    return 100 * (value / reference - 1) if reference and math.isfinite(reference) else None


def _finished_mean(group: Any, column: str) -> float:
    return float(group.loc[group["state"] == "finished", column].mean())


def paper_numbers(c: Collected) -> dict[tuple[Level, Level], str]:
    """Place -> the paper's number of the study's metric; {} where the protocol is another one."""
    if changes(c):
        return {}
    found = {place: published_for(c, place)[:1] for place in c.groups}
    return {place: p.text for place, first in found.items() for p in first if p.metric == c.metric}
