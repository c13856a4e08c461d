"""Collected cells -> figures."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import pandas as pd

from ablations.verdicts.results import last_responses
from ablations.verdicts.statistics import Estimate
from reports.numbers.join import (
    TEST_ERROR,
    TRAIN_ERROR,
    Collected,
    Level,
    Place,
    rate_drops,
)
from reports.pages.document import Figure
from reports.pages.svg import (
    SERIES,
    WIDTH,
    Panel,
    linear,
    logarithmic,
    room_for_keys,
    swatch,
    text_width,
)
from reports.words import MILLION, capital, metric_text, number, unit

Item = TypeVar("Item")

PANELS = 6


def spaced(items: Iterable[Item], most: int) -> list[Item]:
    """At most this many, evenly spread, the first and the last among them."""
    every = list(items)
    if len(every) <= most:
        return every
    return [every[round(i * (len(every) - 1) / (most - 1))] for i in range(most)]


def numeric(rows: Collection[Level]) -> bool:
    """Whether the rows are numbers, one key, at least two, with a place of its own for each on an axis."""
    return (
        len(rows) > 1
        and all(len(row) == 1 and type(row[0]) in (int, float) and can_be_drawn(row[0]) for row in rows)
        and len({float(row[0]) for row in rows}) == len(rows)
    )


def can_be_drawn(value: float) -> bool:
    """Whether an axis can have a place for it, so that nothing computed from it overflows."""
    return value == 0 or 1e-100 < abs(value) < 1e100


def range_of(values: Sequence[float]) -> tuple[float, float]:
    """Limits that hold all values with some air; from zero if the lowest is small beside the highest."""
    drawn = [value for value in values if can_be_drawn(value)]
    if not drawn:
        return 0.0, 1.0
    low, high = min(drawn), max(drawn)
    air = 0.08 * (high - low or abs(high) or 1.0)
    return (0.0 if 0 <= low <= 0.3 * high else low - air), high + air


def range_of_means(means: Iterable[Estimate], seeds: Sequence[float] = ()) -> tuple[float, float]:
    """What an axis must hold: seeds, means, and intervals of three values and more (others dwarf all else)."""
    known = [mean for mean in means if mean.n]
    bounds = [bound for mean in known if mean.n > 2 for bound in (max(mean.low, 0.0), mean.high)]
    return range_of([*seeds, *(mean.mean for mean in known), *bounds])


def column_legend(c: Collected, columns: Iterable[Level]) -> list[tuple[str, str]]:
    """The columns with their marks; none where there is but one, without a name."""
    return [(c.columns[column], swatch(index)) for index, column in enumerate(columns) if column]


def mean_curves(c: Collected, metrics: Iterable[str]) -> pd.DataFrame:
    """Means over the cells of each place, by epoch: place (its index in `c.places`), epoch, step, metrics.

    Where a place has finished cells, only those; otherwise whatever there is.
    """
    number_of: dict[str, int] = {}
    for index, place in enumerate(c.places):
        cells = place.finished if len(place.finished) else place.cells
        number_of.update(dict.fromkeys(cells["identity"], index))
    place_of = c.history["identity"].map(number_of).astype(float)  # NaN, which groups drop: not shown
    logged = [metric for metric in metrics if metric in c.history.columns]
    kept = c.history[["epoch", "step", *logged]].assign(place=place_of)
    return kept.groupby(["place", "epoch"]).mean().reset_index()


def learning_curves(c: Collected) -> Figure | None:
    """Error against steps, a panel per column, a colour per row; None if no epoch was recorded.

    Rows that are too many for colours, but not for panels, are spread over panels, the first row in each.
    """
    data = mean_curves(c, (TEST_ERROR, TRAIN_ERROR))
    if data.empty or TEST_ERROR not in data:
        return None
    columns, (first, *others) = spaced(c.columns, PANELS), c.rows
    rest = [others[start : start + SERIES - 1] for start in range(0, len(others), SERIES - 1)]
    several = len(rest) > 1 and len(columns) == 1 and len(rest) <= PANELS and not numeric(c.rows)
    parts = [[first, *part] for part in rest] if several else [spaced(c.rows, SERIES)]
    top = _useful_top(data)
    x = linear("optimizer steps", 0, float(data["step"].max()))
    y = linear("error, %", 0, top)
    y = replace(y, high=room_for_keys(top, SERIES)) if several else y
    panels, ruled = [], False
    curves = dict(list(data.groupby("place")))
    recorded = {place: curves[index] for index, place in enumerate(c.places) if index in curves}
    for column, rows in [(column, rows) for column in columns for rows in parts]:
        title = capital(c.columns[column]) if column else "Error by step"
        panel = Panel("" if several else title, x, y)
        drops = _drops(c, column)
        ruled = ruled or bool(drops)
        for step in drops:
            panel.rule(step, "lr drop" if step == min(drops) and not several else "")
        for index, row in enumerate(rows):
            if several:
                panel.key(index, c.row_names[row])
            place = c.place(row, column)
            if place not in recorded:
                continue
            name, curve = c.row_names[row], recorded[place]
            for metric, what, style in ((TRAIN_ERROR, "training", "dashed"), (TEST_ERROR, "test", "")):
                if metric in curve:
                    points = list(zip(curve["step"].tolist(), curve[metric], strict=True))
                    panel.line(points, index, f"{name}, {what}", style)
        panels.append(panel.svg())
    legend = [] if several else [(c.row_names[row], swatch(i, "line")) for i, row in enumerate(parts[0])]
    legend += [("test", swatch(-1, "line")), ("training", swatch(-1, "dashed"))]
    shown = len({row for rows in parts for row in rows})
    caption = (
        f"Error during training, mean over seeds, by {c.row_heading}. The axis ends at {top:.3g} %."
        + (" Dotted rules: the learning rate drops." if ruled else "")
        + (f" {capital(c.row_names[first])} stands in every panel." if several else "")
        + left_out((len(c.rows), shown, "rows"), (len(c.columns), len(columns), "columns"))
    )
    return Figure("learning_curves", caption, tuple(panels), tuple(legend))


def by_cost(c: Collected) -> Figure | None:
    """The metric against multiply-adds; None if all places cost the same."""
    costs = {place: place.multiply_adds / MILLION for place in c.places if place.mean(c.metric).n}
    cheapest, dearest = min(costs.values(), default=0), max(costs.values(), default=0)
    if cheapest <= 0 or dearest < 1.2 * cheapest:
        return None
    columns = spaced(c.columns, SERIES)
    air = (dearest / cheapest) ** 0.08
    x = logarithmic("multiply-adds of one image, millions", cheapest / air, dearest * air)
    y = linear(metric_text(c.metric), *range_of_means(place.mean(c.metric) for place in costs))
    panel = Panel("", x, y)
    names: dict[Level, tuple[float, float, str]] = {}
    marks: list[tuple[float, float]] = []
    for index, column in enumerate(columns):
        shift = 9 * (index - (len(columns) - 1) / 2)
        places = [place for place in costs if place.column == column]
        if numeric(c.rows):
            spots = [(panel.px(costs[place]) + shift, place.mean(c.metric).mean) for place in places]
            panel.connect(spots, index)
        for place in places:
            mean, at = place.mean(c.metric), panel.px(costs[place])
            panel.bar(at + shift, mean.low, mean.high, index)
            value = f"{number(mean.mean, 2)}{unit(c.metric)}"
            tip = f"{place.text}: {value}, {number(costs[place], 1)} M multiply-adds"
            panel.marker(at + shift, mean.mean, index, tip)
            marks.append((at + shift, mean.mean))
            if place.row not in names:
                beside = [other.mean(c.metric) for other in costs if other.row == place.row]
                highest = max(e.high if e.n > 2 and e.sd else e.mean for e in beside)
                names[place.row] = at, highest, c.rows[place.row]
    _label(panel, sorted(names.values(), key=lambda name: name[1]), marks)
    caption = f"{capital(metric_text(c.metric))}, mean with 95 % interval, against multiply-adds."
    caption += left_out((len(c.columns), len(columns), "columns"))
    return Figure("error_by_multiply_adds", caption, (panel.svg(),), tuple(column_legend(c, columns)))


def _label(
    panel: Panel, names: Iterable[tuple[float, float, str]], marks: Sequence[tuple[float, float]]
) -> None:
    """Words (px, value, text) above marks (px, value), the first that have room; of others the mark says the name."""
    taken = [(at, 5.0, panel.scale(value) - 5, panel.scale(value) + 5) for at, value in marks]
    for at, value, text in names:
        half, y = 0.46 * text_width(text), panel.scale(value)
        x = min(max(at, panel.left + half), WIDTH - 16 - half)
        top, foot = y - 17, y - 7
        if all(abs(x - other) > half + wide or foot < up or top > down for other, wide, up, down in taken):
            taken.append((x, half, top, foot))
            panel.label(x, value, text)


def layer_responses(c: Collected) -> Figure | None:
    """Standard deviation of each layer's response, in order and sorted; None if no run recorded it."""
    recorded = {place: means for place in c.places if (means := _mean_responses(c, place))}
    shown = spaced(recorded, SERIES)
    if not shown:
        return None
    most = max(len(recorded[place]) for place in shown)
    y = linear("standard deviation", 0, range_of([std for place in shown for std in recorded[place]])[1])
    in_order = Panel("In order", linear("layer", 0, most), y)
    by_size = Panel("Sorted by magnitude", linear("rank", 0, most), y)
    for index, place in enumerate(shown):
        means = recorded[place]
        in_order.line(list(enumerate(means, start=1)), index, place.text)
        by_size.line(list(enumerate(sorted(means, reverse=True), start=1)), index, place.text)
    legend = tuple((place.text, swatch(index, "line")) for index, place in enumerate(shown))
    caption = (
        "Standard deviation of the response of each layer (after batch normalisation, before the "
        "nonlinearity and the addition) at the end of training, mean over seeds."
    ) + left_out((len(recorded), len(shown), "networks"))
    return Figure("layer_responses", caption, (in_order.svg(), by_size.svg()), legend)


def _mean_responses(c: Collected, place: Place) -> list[float]:
    """Standard deviation by layer, the mean over the runs that recorded as many layers as the first."""
    runs = [last_responses(c.events.get(identity, ())) for identity in place.cells["identity"]]
    recorded = [stds for stds in runs if stds]
    alike = [stds for stds in recorded if len(stds) == len(recorded[0])]
    return [math.fsum(stds) / len(stds) for stds in zip(*alike, strict=True)]


def _useful_top(data: pd.DataFrame) -> float:
    """Where to cut the error axis: above all but the first third of training, at a round number."""
    late = data[data["step"] >= 0.3 * data["step"].max()]
    high = max(float(late[metric].quantile(0.98)) for metric in (TEST_ERROR, TRAIN_ERROR) if metric in late)
    if not math.isfinite(high) or high <= 0:
        return 100.0
    step = 10 ** math.floor(math.log10(high))
    return min(100.0, float(math.ceil(high / step * 2) / 2 * step))


def _drops(c: Collected, column: Level) -> list[int]:
    """Steps after which the learning rate dropped in the cells of a column, where they agree."""
    if "recipe.drops" not in c.cells:
        return []
    distinct = set()
    for cell in c.cells[["identity", "recipe.drops", "column"]].to_dict("records"):
        if cell["column"] == column:
            dropped = rate_drops(c.events.get(cell["identity"], ()))
            distinct.add(cell["recipe.drops"] or () if dropped is None else dropped)
    return list(distinct.pop()) if len(distinct) == 1 else []


def left_out(*parts: tuple[int, int, str]) -> str:
    """Says what a figure leaves out: (all, shown, what)."""
    texts = [f"{shown} of {every} {what}" for every, shown, what in parts if shown < every]
    return f" Shown: {', '.join(texts)}." if texts else ""
