"""Collected cells -> the figure of a metric against the rows: every seed, and means with their intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ablations.words import key_text
from reports.numbers.join import TRAIN_ERROR, Collected, Level, Place
from reports.pages.document import Figure
from reports.pages.svg import SERIES, WIDTH, Axis, Panel, RowPanel, linear, swatch, text_width
from reports.sections.figures import column_legend, left_out, numeric, range_of_means, spaced
from reports.words import capital, metric_name, number, unit

SEED_DOTS = 2000
"""Cells above which single seeds are not drawn."""

CATEGORIES = 24
"""How many rows are drawn of those that are no numbers."""


def by_row(c: Collected) -> list[Figure]:
    """The metric, and of an error the training error too, against the rows.

    Rows that are no numbers and whose names do not fit beside each other stand below each other, in a figure of each
    metric: both would not go on one screen.
    """
    rows = {row: c.rows[row] for row in (c.rows if numeric(c.rows) else spaced(c.rows, CATEGORIES))}
    columns = spaced(c.columns, SERIES)
    across = not numeric(c.rows) and sum(text_width(text) + 12 for text in rows.values()) > WIDTH - 70
    metrics = list(dict.fromkeys((c.metric, TRAIN_ERROR))) if c.metric.endswith("error") else [c.metric]
    panels = [_panel(c, metric, rows, columns, across) for metric in metrics]
    legend = column_legend(c, columns)
    if (c.cells["state"] == "diverged").any():
        legend.append(("diverged", swatch(0, "cross")))
    several = any(len(place.cells) > 1 for place in c.places)
    how = "small: seeds; large: their mean with its 95 % interval" if several else "one cell each"
    against = "_by_" + re.sub(r"\W", "_", key_text(c.row_keys[0]), flags=re.ASCII)[:80]
    rest = left_out((len(c.rows), len(rows), "rows"), (len(c.columns), len(columns), "columns"))

    def figure(name: str, what: str, shown: Sequence[Panel | RowPanel]) -> Figure:
        caption = f"{what} against {c.row_heading} ({how}).{rest}"
        return Figure(
            name + against, caption, tuple(each.svg() for each in shown), tuple(legend), shown[0].height
        )

    if len(metrics) > 1 and not across:
        return [figure("error", "Error of the last epoch", panels)]
    return [
        figure(metric.replace("/", "_"), capital(metric_name(metric)), [panel])
        for metric, panel in zip(metrics, panels, strict=True)
    ]


def row_axis(label: str, rows: Mapping[Level, str]) -> tuple[Axis, dict[Level, float]]:
    """The horizontal axis of the rows and the value of each on it; logarithmic where the levels span much."""
    if not numeric(rows):
        at = {row: float(index) for index, row in enumerate(rows)}
        return Axis(label, -0.6, len(rows) - 0.4, [(at[row], text) for row, text in rows.items()]), at
    at = {row: float(row[0]) for row in rows}
    low, high = min(at.values()), max(at.values())
    ticks = [(at[row], text) for row, text in rows.items()]
    if low > 0 and high / low >= 3:
        air = (high / low) ** 0.1
        return Axis(label, low / air, high * air, ticks, log=True), at
    return Axis(label, low - 0.1 * (high - low), high + 0.1 * (high - low), ticks), at


def _panel(
    c: Collected, metric: str, rows: Mapping[Level, str], columns: Sequence[Level], across: bool
) -> Panel | RowPanel:
    """The rows along the foot of a panel, or (across) below each other with their names at the left."""
    title, seeds = capital(metric_name(metric)), c.cells.loc[c.cells["state"] == "finished", metric].tolist()
    limits = range_of_means((place.mean(metric) for place in c.places), seeds)
    values = linear(unit(metric).strip(), *limits, 4 if across else 5)
    axis, value_of = row_axis(c.row_heading, rows)
    upright = Panel(title, axis, values)
    there = [[c.place(row, column) is not None for column in columns] for row in rows]
    panel = RowPanel(title, values, list(rows.values()), list(map(sum, there))) if across else upright
    gap = min((WIDTH - 64) / max(len(rows), 1) / (len(columns) + 1), 17)
    for index, column in enumerate(columns):
        shift = (index - (len(columns) - 1) / 2) * gap
        spots = {
            place: panel.py(line, sum(there[line][:index]))
            if isinstance(panel, RowPanel)
            else panel.px(value_of[row]) + shift
            for line, row in enumerate(rows)
            if (place := c.place(row, column))
        }
        if numeric(c.rows):
            upright.connect([(at, place.mean(metric).mean) for place, at in spots.items()], index)
        for place, at in spots.items():
            _mark(panel, place, at, index, metric, seeds=len(c.cells) <= SEED_DOTS)
    return panel


def _mark(panel: Panel | RowPanel, place: Place, at: float, series: int, metric: str, seeds: bool) -> None:
    """A place at `at` px: its seeds, its mean with the interval, and whether a cell diverged."""
    mean = place.mean(metric)
    if seeds and mean.n > 1:
        for seed, value in zip(place.finished["seed"], place.finished[metric], strict=True):
            tip = f"{place.text}, seed {seed}: {number(value, 2)}{unit(metric)}"
            panel.marker(at - panel.seed_shift, value, series, tip, small=True)
    panel.bar(at, mean.low, mean.high, series)
    if mean.n:
        spread, n = (f" ± {number(mean.sd, 2)}", f" (n = {mean.n})") if mean.n > 1 else ("", "")
        tip = f"{place.text}: {number(mean.mean, 2)}{spread}{unit(metric)}{n}"
        panel.marker(at, mean.mean, series, tip)
    if mean.diverged:
        panel.cross(at, series, f"{place.text}: {mean.diverged} diverged")
