"""What only a study's report has: its answer, differences from the baseline, the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ablations.study import HIGHER_IS_BETTER, Published
from ablations.verdicts import power
from ablations.verdicts.judge import WORDS
from ablations.verdicts.pairs import select
from ablations.verdicts.statistics import LEVEL, at_level
from ablations.words import setting
from reports.numbers.deviations import changes, more_seeds
from reports.numbers.join import Collected, Place
from reports.pages.document import (
    Block,
    Code,
    Column,
    Inline,
    Interval,
    Section,
    Strong,
    Table,
    Text,
    text_columns,
)
from reports.sections.tables import place_columns
from reports.words import (
    MILLION,
    capital,
    interval,
    listed,
    metric_name,
    metric_text,
    number,
    series,
    spread,
    unit,
)

FEW = 4
"""Deviations and claims up to which the answer names each."""

IN_WORDS = {"single": "a single run", "reported": "not said of which runs"}
"""What a published number is, where the name of its statistic does not say it."""


def reservations(c: Collected) -> list[Text]:
    """What stands above the answer: that this is not the study's own protocol, or not all of it, or more."""
    texts: list[Text] = []
    if different := changes(c):
        rest = len(different) - FEW
        shown: list[Inline] = [(Code(key), f" {said}") for key, said in different[:FEW]]
        shown += [f"{rest} more, under “Protocol and deviations”"] * (rest > 0)
        below = ". What stands below is true of that, and says nothing about the paper's numbers."
        said = ("This is not the study's own protocol: ", *series(shown), below)
        texts.append(Text(said, "warning"))
    if part := series(map(Code, c.manifest.narrowed)):
        texts.append(Text(("Only a part of the study's cells: ", *part, "."), "note"))
    if seeds := more_seeds(c):
        texts.append(Text(f"More seeds than the study's own: {listed(map(str, seeds))}.", "note"))
    return texts


def answer(c: Collected) -> Text:
    """The answer in two sentences: the verdicts, and the best place."""
    best = _best_sentence(c)
    return Text((_verdict_sentence(c), " ", best) if c.verdicts else best, "lead")


def _verdict_sentence(c: Collected) -> Inline:
    verdicts = c.verdicts
    parts: list[Inline] = []
    for word in WORDS:
        claims = [f"“{verdict.claim.sentence}”" for verdict in verdicts if verdict.word == word]
        if claims:
            told = str(len(claims)) if len(verdicts) > FEW else listed(claims)
            parts.append((f"{told} {'is' if len(claims) == 1 else 'are'} ", Strong(word)))
    so_far = "So far, " if c.is_open else ""
    if len(verdicts) > FEW:
        return f"{so_far}{'of' if so_far else 'Of'} {len(verdicts)} claims ", *series(parts), "."
    all_of_them = [text for part in parts for text in (part, "; ")][:-1]
    return so_far, *all_of_them, "."


def _best_sentence(c: Collected) -> str:
    """The place with the best mean, the first that was asked for if several have it, against its baseline."""
    means = {place: mean for place in c.places if (mean := place.mean(c.metric)).n}
    if not means:
        return "No cell has finished."
    word, sign = ("highest", -1) if c.metric in HIGHER_IS_BETTER else ("lowest", 1)
    trained = {place: mean for place, mean in means.items() if not mean.diverged} or means
    best = min(trained, key=lambda place: (sign * trained[place].mean, place.cells.index[0]))
    among = " where no run diverged" if len(trained) < len(means) else ""
    text = f"The {word} {metric_name(c.metric)}{among} is {spread(means[best], 2)}{unit(c.metric)}"
    text += f" ({best.text}, n = {means[best].n})"
    reference = baseline(c, best)
    if reference is None or reference is best or reference not in means:
        return text + "."
    compared = c.compare(best, reference)
    difference = compared.difference
    if not difference.n:
        return text + "."
    others = max(len(means) - 1, 1)
    level = 1 - (1 - LEVEL) / others
    difference, new = at_level(difference, level), at_level(compared.on_new_images, level)
    known = not math.isnan(difference.low) and not any(compared.diverged)
    bounds = f", {100 * level:.3g} % interval {interval(difference, 2)}" if known else ""
    bounds += f" (on new images {interval(new, 2)})" if known and new.n else ""
    chosen = f", wider than a claim's because it was picked as the best of {len(means)}" if others > 1 else ""
    chosen = chosen if known else ""
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
    return Section("Differences from the baseline", (Table("differences", caption, columns, rows),))


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
    printed = {place: published_for(c, place) for place in c.places}
    every = [published for numbers in printed.values() for published in numbers]
    differs = list(dict.fromkeys(published.differs for published in every if published.differs))
    several = any(published.metric != c.metric for published in every)
    rows: list[list[object]] = []
    for place, numbers in printed.items():
        for published in numbers:
            ours = place.mean(published.metric)
            of = f" of {published.runs}" if published.runs and published.statistic != "single" else ""
            gap = ours.mean - published.value if ours.n and comparable and not published.bound else None
            rows.append([*place.labels, *[metric_text(published.metric)] * several, ours, published.text])
            rows[-1] += [gap, IN_WORDS.get(published.statistic, published.statistic) + of, published.where]
            rows[-1].append(differs.index(published.differs) + 1 if published.differs else None)
        if not numbers:
            rows.append([*place.labels, *[metric_text(c.metric)] * several, place.mean(c.metric)])
            rows[-1] += [None, None, "no published number", "", None]
    columns = [*place_columns(c), *text_columns(*["metric"] * several)]
    columns += [Column("ours", 2), Column("paper"), Column("difference", 2)]
    columns += [*text_columns("the paper's number is", "where"), Column("its protocol differs")]
    caption = "" if several else f"{capital(metric_text(c.metric))}. "
    caption += "Ours: mean ± standard deviation over seeds, last epoch."
    note = " ".join(f"({index}) {text}." for index, text in enumerate(differs, start=1))
    note = note and f"Its protocol differs: {note}"
    blocks: list[Block] = [Table("against_paper", caption, columns, rows, note)]
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
