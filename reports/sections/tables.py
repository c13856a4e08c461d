"""Collected cells -> tables. Pure functions; errors in percent, of the last epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ablations.verdicts.results import NOT_NEEDED
from ablations.verdicts.statistics import NOTHING, Estimate
from reports.numbers.join import PENDING, TRAIN_ERROR, Collected, Place
from reports.pages.document import Column, Interval, Table
from reports.words import HOLE, MILLION, capital, heading, metric_text, time_unit


def state_text(place: Place) -> str:
    """What to print where a place has no number: "– running", or "– " alone if no cell of it is open."""
    states = [state for state in (*PENDING, NOT_NEEDED) if (place.cells["state"] == state).any()]
    return f"{HOLE} {states[0]}" if states else HOLE


def mean_or_state(place: Place, metric: str) -> Estimate | str:
    """The mean of a metric, or why there is none."""
    mean = place.mean(metric)
    return mean if mean.n or mean.diverged else state_text(place)


def place_columns(c: Collected) -> list[Column]:
    """The columns that hold the labels of a place."""
    numeric = all(type(row[0]) in (int, float) for row in c.rows if row)
    head = [Column(c.row_heading, left=not numeric)] if c.row_keys else []
    return head + ([Column(heading(c.column_keys), left=True)] if c.column_keys else [])


def main_table(c: Collected, paper: Mapping[Place, str]) -> Table:
    """Rows × columns: mean ± standard deviation. paper: place -> what a paper printed, beside."""
    printed = {place.column for place in paper}
    columns = place_columns(c)[:1]
    for column, text in c.columns.items():
        columns += [Column(text, 2)] + [Column(f"{text}, paper")] * (column in printed)
    rows = []
    for row, text in c.rows.items():
        values: list[object] = [text]
        for column in c.columns:
            place = c.place(row, column)
            values.append(mean_or_state(place, c.metric) if place else NOTHING)
            if column in printed:
                values.append(place and paper.get(place))
        rows.append(values)
    caption = f"{capital(metric_text(c.metric))}, by {c.row_heading} and {heading(c.column_keys)}."
    name = f"main_{c.metric.replace('/', '_')}"
    return Table(name, f"{caption} {seeds_text(c)}", columns, rows, short_note(rows))


def groups_table(c: Collected, paper: Mapping[Place, str]) -> Table:
    """One row per place in the tables: everything that is known of it. paper: as in `main_table`."""
    time, length = time_unit(c.cells["seconds"].max())
    head = [*place_columns(c), Column("seeds"), Column(metric_text(c.metric), 2)]
    head += [Column("paper")] * bool(paper) + [Column("95 % interval", 2), Column("training error, %", 2)]
    head += [Column("parameters, M", 2), Column("multiply-adds, M", 1), Column(time, 1)]
    rows: list[list[object]] = []
    for place in c.places:
        mean, seconds = place.mean(c.metric), place.mean("seconds")
        rows.append([*place.labels, seeds_cell(place, mean), mean_or_state(place, c.metric)])
        rows[-1] += [paper.get(place)] * bool(paper) + [Interval(mean), place.mean(TRAIN_ERROR)]
        rows[-1] += [place.parameters / MILLION, place.multiply_adds / MILLION]
        rows[-1].append(seconds.mean / length if seconds.n else None)
    caption = (
        "Mean ± standard deviation over seeds, Student-t 95 % interval of the mean, parameters, "
        "multiply-adds of one forward pass of one image, and mean time to train and evaluate one cell."
    )
    return Table("groups", caption, head, rows, short_note(rows))


def seeds_text(c: Collected) -> str:
    """How many seeds stand behind each number."""
    sizes = {len(place.cells) for place in c.places}
    if sizes == {1}:
        return "One cell each, so no spread can be given."
    size = f"{min(sizes)} to {max(sizes)}" if len(sizes) > 1 else f"{sizes.pop()}"
    return f"Mean ± standard deviation over {size} seeds."


def short_note(rows: Iterable[Iterable[object]]) -> str:
    """Explains the daggers, if any number has one."""
    estimates = [value for row in rows for value in row if isinstance(value, Estimate) and value.n]
    notes = []
    if any(e.n + e.diverged < e.planned for e in estimates):
        notes.append("† fewer seeds than were asked for.")
    if any(e.diverged for e in estimates):
        notes.append("‡ cells that diverged have no error and are not in the mean.")
    if any(e.departed for e in estimates):
        notes.append("§ not at the recipe's learning rates: see “Threats to validity”.")
    return " ".join(notes)


def seeds_cell(place: Place, mean: Estimate) -> str:
    """How many cells stand behind a mean: "5", "4 of 5", "4 of 5, 1 diverged"."""
    text = str(mean.n) if mean.n == len(place.cells) else f"{mean.n} of {len(place.cells)}"
    return text + (f", {mean.diverged} diverged" if mean.diverged else "")
