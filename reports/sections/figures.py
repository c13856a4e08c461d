"""Collected cells -> figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from reports.numbers.join import TEST_ERROR, TRAIN_ERROR, Collected, Level, level_text
from reports.numbers.statistics import Estimate
from reports.pages.document import Figure, number
from reports.pages.svg import (
    SERIES,
    Panel,
    linear,
    logarithmic,
    range_of,
    room_for_keys,
    swatch,
)
from reports.sections.tables import MILLION, curves, heading, metric_text, place_text

PANELS = 6
LABELLED = 12
"""Rows up to which each is labelled in the figure."""


def spaced(levels: Sequence[Level], most: int) -> list[Level]:
    """At most this many levels, evenly spread, the first and the last among them."""
    if len(levels) <= most:
        return list(levels)
    return [levels[round(i * (len(levels) - 1) / (most - 1))] for i in range(most)]


def numeric(rows: Sequence[Level]) -> bool:
    """Whether the rows are numbers, one key, at least two."""
    return len(rows) > 1 and all(
        len(row) == 1 and isinstance(row[0], int | float) and not isinstance(row[0], bool) for row in rows
    )


def ends(estimates: Sequence[Estimate]) -> list[float]:
    """What an axis must hold: means, and intervals of three values and more (those of two dwarf all else)."""
    means = [e.mean for e in estimates]
    return means + [bound for e in estimates if e.n > 2 for bound in (max(e.low, 0.0), e.high)]


def short_texts(c: Collected, rows: Sequence[Level]) -> dict[Level, str]:
    """Rows for people, further keys named only where they tell rows apart that begin alike."""
    texts = {}
    for row in rows:
        alike = [other for other in rows if other[:1] == row[:1]]
        kept = [i for i in range(1, len(row)) if len({other[i] for other in alike}) > 1]
        keys, level = ([of[0], *(of[i] for i in kept)] if of else [] for of in (c.row_keys, row))
        texts[row] = level_text(tuple(level), keys)
    return texts


def learning_curves(c: Collected) -> Figure | None:
    """Error against steps, a panel per column, a colour per row; None if no epoch was recorded.

    Rows that are too many for colours, but not for panels, are spread over panels, the first row in each.
    """
    columns = spaced(c.columns, PANELS)
    rest = [c.rows[start : start + SERIES - 1] for start in range(1, len(c.rows), SERIES - 1)]
    if len(c.rows) > SERIES and len(columns) == 1 and len(rest) <= PANELS and not numeric(c.rows):
        parts = [(c.rows[0], *part) for part in rest]
    else:
        parts = [tuple(spaced(c.rows, SERIES))]
    several, texts = len(parts) > 1, short_texts(c, c.rows)
    data = curves(c, (TEST_ERROR, TRAIN_ERROR))
    if data.empty or TEST_ERROR not in data:
        return None
    top = _useful_top(data)
    x = linear("optimizer steps", 0, float(data["step"].max()))
    y = linear("error, %", 0, room_for_keys(top, SERIES) if several else top)
    panels = []
    by_place = dict(list(data.groupby(["row", "column"], sort=False)))
    for column, rows in [(column, rows) for column in columns for rows in parts]:
        title = (
            f"{heading(c.column_keys)} {level_text(column, c.column_keys)}"
            if c.column_keys
            else "Error by step"
        )
        panel = Panel("" if several else title, x, y)
        for step in _drops(c, column):
            panel.rule(step, "lr drop" if step == min(_drops(c, column)) and not several else "")
        for index, row in enumerate(rows):
            if several:
                panel.key(index, texts[row])
            part = by_place.get((row, column))
            if part is None:
                continue
            name = f"{heading(c.row_keys[:1])} {texts[row]}"
            steps = part["step"].tolist()
            if TRAIN_ERROR in part:
                panel.line(
                    list(zip(steps, part[TRAIN_ERROR], strict=True)), index, f"{name}, training", "dashed"
                )
            panel.line(list(zip(steps, part[TEST_ERROR], strict=True)), index, f"{name}, test")
        panels.append(panel.svg())
    legend = [] if several else [(texts[row], swatch(i, "line")) for i, row in enumerate(parts[0])]
    legend += [("test", swatch(-1, "line")), ("training", swatch(-1, "dashed"))]
    shown = len({row for rows in parts for row in rows})
    caption = (
        f"Error during training, mean over seeds, by {heading(c.row_keys)}. The axis ends at {y.high:.3g} %. "
        "Dotted rules: the learning rate drops."
        + (f" {texts[c.rows[0]]} stands in every panel." if several else "")
        + left_out((len(c.rows), shown, "rows"), (len(c.columns), len(columns), "columns"))
    )
    return Figure("learning_curves", caption, tuple(panels), tuple(legend))


def by_cost(c: Collected) -> Figure | None:
    """Error against multiply-adds; None if all places cost the same."""
    means = c.estimates(c.metric)
    points = {
        place: (float(c.groups[place]["multiply_adds"].iloc[0]) / MILLION, e)
        for place, e in means.items()
        if e.n
    }
    costs = [cost for cost, _ in points.values()]
    if not costs or min(costs) <= 0 or max(costs) < 1.2 * min(costs):
        return None
    columns = spaced(c.columns, SERIES)
    air = (max(costs) / min(costs)) ** 0.08
    x = logarithmic("multiply-adds of one image, millions", min(costs) / air, max(costs) * air)
    labelled: set[Level] = set()
    panel = Panel("", x, linear(metric_text(c.metric), *range_of(ends([e for _, e in points.values()]))))
    for index, column in enumerate(columns):
        shift = 9 * (index - (len(columns) - 1) / 2)
        found = [(row, *points[row, column]) for row in c.rows if (row, column) in points]
        if numeric(c.rows):
            line = [(panel.px(cost) + shift, e.mean) for _, cost, e in found]
            panel.line(line, index, style="faint", px=True)
        for row, cost, e in found:
            at = panel.px(cost) + shift
            if e.n > 1:
                panel.bar(at, e.low, e.high, index)
            name = place_text(c, (row, column))
            panel.marker(
                at, e.mean, index, f"{name}: {number(e.mean, 2)} %, {number(cost, 1)} M multiply-adds"
            )
            if row not in labelled and len(c.rows) <= LABELLED:
                highest = max(
                    e.high if e.n > 2 and e.sd else e.mean
                    for place, (_, e) in points.items()
                    if place[0] == row
                )
                panel.label(panel.px(cost), highest, level_text(row, c.row_keys))
                labelled.add(row)
    legend = (
        [(level_text(col, c.column_keys), swatch(i)) for i, col in enumerate(columns)]
        if c.column_keys
        else []
    )
    caption = (
        f"{metric_text(c.metric).capitalize()}, mean with 95 % interval, against multiply-adds."
        + left_out((len(c.columns), len(columns), "columns"))
    )
    return Figure("error_by_multiply_adds", caption, (panel.svg(),), tuple(legend))


def layer_responses(c: Collected) -> Figure | None:
    """Standard deviation of each layer's response, in order and sorted; None if no run recorded it."""
    means = {place: _mean_responses(c, group["identity"].tolist()) for place, group in c.groups.items()}
    places = spaced([(row, col) for row in c.rows for col in c.columns if means.get((row, col))], SERIES)
    if not places:
        return None
    most = max(len(means[place]) for place in places)
    y = linear("standard deviation", 0, range_of([std for place in places for _, std in means[place]])[1])
    panels = []
    for title, key in (("In order", None), ("Sorted by magnitude", lambda item: -item[1])):
        panel = Panel(title, linear("layer" if key is None else "rank", 0, most), y)
        for index, place in enumerate(places):
            items = sorted(means[place], key=key) if key else means[place]
            points = [(rank, std) for rank, (_, std) in enumerate(items, start=1)]
            panel.line(points, index, place_text(c, place))
        panels.append(panel.svg())
    legend = [(place_text(c, place), swatch(index, "line")) for index, place in enumerate(places)]
    every = sum(bool(found) for found in means.values())
    caption = (
        "Standard deviation of the response of each layer (after batch normalisation, before the "
        "nonlinearity and the addition) at the end of training, mean over seeds."
    ) + left_out((every, len(places), "networks"))
    return Figure("layer_responses", caption, tuple(panels), tuple(legend))


def _mean_responses(c: Collected, identities: Sequence[str]) -> list[tuple[str, float]]:
    """(layer, standard deviation), the mean over the runs that recorded as many layers as the first."""
    found = []
    for identity in identities:
        events = [e for e in c.events.get(identity, ()) if e.get("event") == "layer_responses"]
        if events:
            found.append(events[-1]["responses"])
    if not found:
        return []
    same = [one for one in found if len(one) == len(found[0])]
    return [
        (layers[0][0], math.fsum(std for _, std in layers) / len(layers))
        for layers in zip(*same, strict=True)
    ]


def _useful_top(data: pd.DataFrame) -> float:
    """Where to cut the error axis: above all but the first third of training, at a round number."""
    late = data[data["step"] >= 0.3 * data["step"].max()]
    high = max(float(late[metric].quantile(0.98)) for metric in (TEST_ERROR, TRAIN_ERROR) if metric in late)
    if not math.isfinite(high) or high <= 0:
        return 100.0
    step = 10 ** math.floor(math.log10(high))
    return min(100.0, float(math.ceil(high / step * 2) / 2 * step))


def _drops(c: Collected, column: Level) -> list[int]:
    """Steps after which the learning rate drops in the cells of a column, where they agree."""
    if "recipe.drops" not in c.cells:
        return []
    found = {
        drops
        for drops, where in zip(c.cells["recipe.drops"], c.cells["column"], strict=True)
        if where == column
    }
    return list(found.pop() or ()) if len(found) == 1 else []


def left_out(*parts: tuple[int, int, str]) -> str:
    """Says what a figure leaves out: (all, shown, what)."""
    texts = [f"{shown} of {every} {what}" for every, shown, what in parts if shown < every]
    return f" Shown: {', '.join(texts)}." if texts else ""
