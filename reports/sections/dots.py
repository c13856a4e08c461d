"""Collected cells -> the figure of a metric against the rows: every seed, and means with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from reports.numbers.join import TRAIN_ERROR, Collected, Level, key_text, level_text
from reports.numbers.statistics import Estimate
from reports.pages.document import Figure, number
from reports.pages.svg import SERIES, WIDTH, Axis, Panel, RowPanel, linear, range_of, swatch, text_width
from reports.sections.figures import ends, left_out, numeric, short_texts, spaced
from reports.sections.tables import heading, metric_text, place_text

SEED_DOTS = 2000
"""Cells above which single seeds are not drawn."""

CATEGORIES = 24


def row_axis(c: Collected, rows: Sequence[Level]) -> tuple[Axis, dict[Level, float]]:
    """The horizontal axis of the rows and the value of each on it; logarithmic where the levels span much."""
    label, texts = heading(c.row_keys), short_texts(c, rows)
    if not numeric(rows):
        at = {row: float(index) for index, row in enumerate(rows)}
        return Axis(label, -0.6, len(rows) - 0.4, [(at[row], texts[row]) for row in rows]), at
    at = {row: float(row[0]) for row in rows}
    low, high = min(at.values()), max(at.values())
    ticks = [(at[row], texts[row]) for row in rows]
    if low > 0 and high / low >= 3:
        air = (high / low) ** 0.1
        return Axis(label, low / air, high * air, ticks, log=True), at
    return Axis(label, low - 0.1 * (high - low), high + 0.1 * (high - low), ticks), at


def by_row(c: Collected) -> Figure:
    """The metric, and of an error the training error too, against the rows.

    Rows that are no numbers and whose names do not fit under each other's axis stand below each other.
    """
    rows, columns = c.rows if numeric(c.rows) else spaced(c.rows, CATEGORIES), spaced(c.columns, SERIES)
    needed = sum(text_width(text) + 12 for text in short_texts(c, rows).values())
    across = not numeric(c.rows) and needed > WIDTH - 70
    metrics = list(dict.fromkeys((c.metric, TRAIN_ERROR))) if c.metric.endswith("error") else [c.metric]
    draw = _across if across else _upright
    panels, heights = zip(*(draw(c, metric, rows, columns) for metric in metrics), strict=True)
    legend = (
        [(level_text(col, c.column_keys), swatch(i)) for i, col in enumerate(columns)]
        if c.column_keys
        else []
    )
    if (c.cells["state"] == "diverged").any():
        legend.append(("diverged", swatch(0, "cross")))
    several = any(len(group) > 1 for group in c.groups.values())
    how = "small: seeds; large: their mean with its 95 % interval" if several else "one cell each"
    what = "Error of the last epoch" if len(metrics) > 1 else metric_text(c.metric).capitalize()
    caption = f"{what} against {heading(c.row_keys)} ({how})." + left_out(
        (len(c.rows), len(rows), "rows"), (len(c.columns), len(columns), "columns")
    )
    name = "error" if len(metrics) > 1 else c.metric.replace("/", "_")
    name += "_by_" + key_text(c.row_keys[0]).replace(" ", "_")
    return Figure(name, caption, panels, tuple(legend), heights[0])


def unit(metric: str) -> str:
    """ " %" or nothing."""
    return " %" if metric.endswith("error") else ""


def _title(metric: str) -> str:
    text = metric_text(metric).removesuffix(", %")
    return text[:1].upper() + text[1:]


def _range(c: Collected, metric: str) -> tuple[float, float]:
    values = c.cells.loc[c.cells["state"] == "finished", metric].tolist()
    return range_of(values + ends([e for e in c.estimates(metric).values() if e.n]))


def _upright(
    c: Collected, metric: str, rows: Sequence[Level], columns: Sequence[Level]
) -> tuple[str, int | None]:
    """A panel with the rows along its foot."""
    axis, at = row_axis(c, rows)
    estimates = c.estimates(metric)
    panel = Panel(_title(metric), axis, linear(unit(metric).strip(), *_range(c, metric)))
    gap = min((WIDTH - 64) / max(len(rows), 1) / (len(columns) + 1), 17)
    for index, column in enumerate(columns):
        series = index if c.column_keys else 0
        shift = (index - (len(columns) - 1) / 2) * gap
        spots = {row: panel.px(at[row]) + shift for row in rows if (row, column) in c.groups}
        if numeric(c.rows):
            line = [(x, estimates[row, column].mean) for row, x in spots.items()]
            panel.line(line, series, style="faint", px=True)
        for row, x in spots.items():
            e = estimates[row, column]
            for value, tip in _seeds(c, (row, column), metric, e):
                panel.marker(x - 6, value, series, tip, small=True)
            if e.n > 1:
                panel.bar(x, e.low, e.high, series)
            if e.n:
                panel.marker(x, e.mean, series, _mean_tip(c, (row, column), metric, e))
            if e.diverged:
                panel.cross(x, series, f"{place_text(c, (row, column))}: {e.diverged} diverged")
    return panel.svg(), None


def _across(
    c: Collected, metric: str, rows: Sequence[Level], columns: Sequence[Level]
) -> tuple[str, int | None]:
    """A panel with the rows below each other, their names at the left."""
    estimates = c.estimates(metric)
    axis = linear(unit(metric).strip(), *_range(c, metric), 4)
    panel = RowPanel(_title(metric), axis, list(short_texts(c, rows).values()), len(columns))
    for index, column in enumerate(columns):
        series = index if c.column_keys else 0
        for number_, row in enumerate(rows):
            if (row, column) not in c.groups:
                continue
            y, e = panel.py(number_, index), estimates[row, column]
            for value, tip in _seeds(c, (row, column), metric, e):
                panel.marker(value, y - 5, series, tip, small=True)
            if e.n > 1:
                panel.bar(e.low, e.high, y, series)
            if e.n:
                panel.marker(e.mean, y, series, _mean_tip(c, (row, column), metric, e))
            if e.diverged:
                panel.cross(y, series, f"{place_text(c, (row, column))}: {e.diverged} diverged")
    return panel.svg(), panel.height


def _seeds(c: Collected, place: tuple[Level, Level], metric: str, e: Estimate) -> list[tuple[float, str]]:
    """The value of each seed with what to say of it; none where they are too many or the mean is all."""
    if e.n < 2 or len(c.cells) > SEED_DOTS:
        return []
    group = c.groups[place]
    finished = group[group["state"] == "finished"]
    return [
        (value, f"{place_text(c, place)}, seed {seed}: {number(value, 2)}{unit(metric)}")
        for seed, value in zip(finished["seed"], finished[metric], strict=True)
    ]


def _mean_tip(c: Collected, place: tuple[Level, Level], metric: str, e: Estimate) -> str:
    spread, n = (f" ± {number(e.sd, 2)}", f" (n = {e.n})") if e.n > 1 else ("", "")
    return f"{place_text(c, place)}: {number(e.mean, 2)}{spread}{unit(metric)}{n}"
