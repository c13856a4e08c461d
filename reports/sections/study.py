"""What only a study's report has: differences from the baseline, the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ablations.study import Published
from ablations.verdicts import power
from ablations.verdicts.pairs import select
from ablations.verdicts.statistics import LEVEL, at_level
from ablations.words import setting
from reports.numbers.deviations import changes
from reports.numbers.join import Collected, Place
from reports.pages.document import (
    Block,
    Column,
    Folded,
    Interval,
    Items,
    Section,
    Table,
    Text,
    text_columns,
)
from reports.sections.answer import best_place
from reports.sections.tables import place_columns
from reports.words import (
    MILLION,
    capital,
    interval,
    metric_name,
    metric_text,
    number,
    unit,
)

IN_WORDS = {"single": "a single run", "reported": "not said of which runs"}
"""What a published number is, where the name of its statistic does not say it."""


def best_against_baseline(c: Collected) -> str:
    """How much better the best place is than its baseline; "" where there is nothing to compare."""
    if not (found := best_place(c)):
        return ""
    best, text = found
    reference = baseline(c, best)
    if reference is None or reference is best or not (difference := c.compare(best, reference).difference).n:
        return ""
    compared = c.compare(best, reference)
    count = sum(place.mean(c.metric).n > 0 for place in c.places)
    level = 1 - (1 - LEVEL) / max(count - 1, 1)
    difference, new = at_level(difference, level), at_level(compared.on_new_images, level)
    known = not math.isnan(difference.low) and not any(compared.diverged)
    bounds = f", {100 * level:.3g} % interval {interval(difference, 2)}" if known else ""
    bounds += f" (on new images {interval(new, 2)})" if known and new.n else ""
    chosen = (
        f", wider than a claim's because it was picked as the best of {count}" if count > 2 and known else ""
    )
    points = " points" if unit(c.metric) else ""
    return (
        f"{text}; its difference from the baseline, {reference.text}, is "
        f"{number(difference.mean, 2)}{points}{bounds}{chosen}."
    )


def baseline(c: Collected, place: Place) -> Place | None:
    """What a place is compared with: the study's baseline at the place's other levels, if it is one place."""
    if c.study is None or c.study.baseline is None:
        return None
    levels = dict(zip((*c.row_keys, *c.column_keys), place.row + place.column, strict=True))
    if isinstance(c.study.baseline, Mapping):
        typed = [key for key in levels if key not in c.study.factors]
        shared = {key: levels[key] for key in (c.study.rows, c.study.columns, *typed) if key}
        places = [each for each in c.places if select(each.results, {**shared, **c.study.baseline})]
        return places[0] if len(places) == 1 else None
    levels[c.study.columns or c.study.rows] = c.study.baseline
    row, column = (tuple(levels[key] for key in keys) for keys in (c.row_keys, c.column_keys))
    return c.place(row, column)


def differences(c: Collected) -> Section:
    """Every place against the baseline."""
    rows: list[list[object]] = []
    for place in c.places:
        reference = baseline(c, place)
        if reference is None or reference is place:
            continue
        compared = c.compare(place, reference)
        difference = replace(compared.difference, diverged=sum(compared.diverged), planned=compared.planned)
        rows.append([*place.labels, difference, Interval(difference), Interval(compared.on_new_images)])
        rows[-1].append("not paired" if compared.independent else str(difference.n))
        testable = not compared.independent and difference.n > 1
        rows[-1].append(power.resolvable(difference.sd, difference.n) if testable else None)
        rows[-1].append((place.parameters - reference.parameters) / MILLION)
        rows[-1].append(_percent(place.multiply_adds, reference.multiply_adds))
        rows[-1].append(_percent(place.finished["seconds"].mean(), reference.finished["seconds"].mean()))
    if not rows:
        return Section("", ())
    columns = [*place_columns(c), Column("difference", 2), Column("95 % interval", 2)]
    columns += [
        Column("95 %, new images", 2),
        Column("pairs"),
        Column("resolvable", 2),
        Column("Δ parameters, M", 3),
    ]
    columns += [Column("Δ multiply-adds, %", 1), Column("Δ time, %", 1)]
    assert c.study
    level = c.study.baseline
    levels = level if isinstance(level, Mapping) else {c.study.columns or c.study.rows: level}
    caption = (
        f"Difference from {', '.join(setting(*pair) for pair in levels.items())}"
        f"{' in points' if unit(c.metric) else ''} "
        f"of {metric_name(c.metric)}, mean ± standard deviation over pairs of one seed. "
        "The intervals hold one by one: the first on these test images, the second on new images of the kind too. "
        "Runs whose seed the other side has not are left out. "
        "Resolvable: the smallest true difference that as many pairs with this spread would show four times "
        "in five."
    )
    lead = tuple(Text(told) for told in [best_against_baseline(c)] if told)
    return Section("Differences from the baseline", (*lead, Table("differences", caption, columns, rows)))


def published_for(c: Collected, place: Place) -> list[Published]:
    """The paper's numbers for a place, those of the study's metric first."""
    numbers = c.study.published if c.study else ()
    matching = [published for published in numbers if select(place.results, published.levels)]
    return sorted(matching, key=lambda published: published.metric != c.metric)


def against_paper(c: Collected) -> Section:
    """The paper's numbers beside ours, with what each is and how its protocol differs."""
    if c.study is None or not c.study.published:
        text = "There is no published number for any cell of this study."
        return Section("Against the paper", (Text(text),) if c.study else ())
    comparable = not changes(c)
    printed = [(place, number) for place in c.places for number in published_for(c, place)]
    differs = list(dict.fromkeys(published.differs for _, published in printed if published.differs))

    def line(place: Place, published: Published) -> list[object]:
        ours = place.mean(published.metric)
        of = f" of {published.runs}" if published.runs and published.statistic != "single" else ""
        gap = ours.mean - published.value if ours.n and comparable and not published.bound else None
        mark = differs.index(published.differs) + 1 if published.differs else None
        what = IN_WORDS.get(published.statistic, published.statistic) + of
        return [ours, published.text, gap, what, published.where, mark]

    own: list[list[object]] = []
    for place in c.places:
        first = [number for at, number in printed if at is place and number.metric == c.metric]
        own += [[*place.labels, *line(place, number)] for number in first]
        if not first:
            own.append([*place.labels, place.mean(c.metric), None, None, "no published number", "", None])
    others = [
        [*place.labels, metric_text(number.metric), *line(place, number)]
        for place, number in printed
        if number.metric != c.metric
    ]
    columns = [Column("ours", 2), Column("paper"), Column("difference", 2)]
    columns += [*text_columns("the paper's number is", "where"), Column("its protocol differs")]
    ours = "Ours: mean ± standard deviation over seeds, last epoch."
    caption = f"{capital(metric_text(c.metric))}. {ours}"
    blocks: list[Block] = [Table("against_paper", caption, [*place_columns(c), *columns], own)]
    if others:
        head = [*place_columns(c), *text_columns("metric"), *columns]
        title = "The paper's numbers of other metrics"
        blocks.append(Folded(title, (Table("against_paper_other_metrics", ours, head, others),)))
    if differs:
        notes = tuple(f"({index}) {text}." for index, text in enumerate(differs, start=1))
        blocks.append(Folded("How the paper's protocol differs", (Items(notes),)))
    if not comparable:
        text = "The paper's numbers are for another protocol and are not comparable here."
        blocks.insert(0, Text(text, "warning"))
    return Section("Against the paper", tuple(blocks))


def _percent(value: float, reference: float) -> float | None:
    return 100 * (value / reference - 1) if reference and math.isfinite(reference) else None


def paper_numbers(c: Collected) -> dict[Place, str]:
    """Place -> the paper's number of the study's metric; {} where the protocol is another one."""
    if changes(c):
        return {}
    printed = {place: numbers[0] for place in c.places if (numbers := published_for(c, place))}
    return {place: first.text for place, first in printed.items() if first.metric == c.metric}
