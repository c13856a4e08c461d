"""Collected cells -> tables. Pure functions; errors in percent, of the last epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ablations.study import METRICS
from reports.numbers.join import OPEN, TRAIN_ERROR, Collected, Level, key_text, level_text
from reports.numbers.statistics import NOTHING, Estimate
from reports.pages.document import Column, Table, interval

MILLION = 1e6
HOUR = 3600


def metric_text(metric: str) -> str:
    """A metric for people, with its unit; one that no study knows goes by its own name."""
    return METRICS.get(metric, metric.replace("/", " ").replace("_", " "))


def metric_name(metric: str) -> str:
    """A metric for people, without its unit."""
    return metric_text(metric).partition(",")[0]


def unit(metric: str) -> str:
    """What stands behind a value of this metric: " %", or nothing."""
    return " %" if metric_text(metric).endswith(", %") else ""


def counts(states: Iterable[str]) -> str:
    """ "43 of 45 cells finished, 1 diverged, 1 failed"."""
    count = Counter(states)
    rest = [f"{count[state]} {state}" for state in ("diverged", *OPEN) if count[state]]
    return ", ".join([f"{count['finished']} of {sum(count.values())} cells finished", *rest])


def state_text(group: pd.DataFrame) -> str:
    """What to print where a group has no number: "– running", or "– " alone where no cell was asked for."""
    states = [state for state in OPEN if (group["state"] == state).any()]
    return f"– {states[0]}" if states else "–"


def heading(keys: tuple[str, ...]) -> str:
    """What the levels of these keys are called."""
    return ", ".join(map(key_text, keys)) or "cell"


def time_unit(c: Collected) -> tuple[str, int]:
    """What to give the time of one cell in, and its length in seconds."""
    longest = float(c.cells["seconds"].max())
    return ("hours", 3600) if longest >= 7200 else ("minutes", 60) if longest >= 120 else ("seconds", 1)


def place_columns(c: Collected) -> list[Column]:
    """The columns that say which place of the tables a line is about."""
    head = [Column(heading(c.row_keys[:1]), left=not _numeric(c.rows))] if c.row_keys else []
    return head + ([Column(heading(c.column_keys), left=True)] if c.column_keys else [])


def place_cells(c: Collected, row: Level, column: Level) -> list[object]:
    """What stands in them."""
    texts = [c.row_texts[row]] * bool(row) + [level_text(column, c.column_keys)] * bool(column)
    return list(texts)


def place_text(c: Collected, place: tuple[Level, Level]) -> str:
    """ "depth 56, shortcut B"."""
    row, column = place
    parts = [f"{heading(c.row_keys[:1])} {c.row_texts[row]}"] if row else []
    parts += [f"{heading(c.column_keys[:1])} {level_text(column, c.column_keys)}"] if column else []
    return ", ".join(parts)


def listed(texts: Iterable[str]) -> str:
    """ "a, b and c"; "" for none."""
    *most, last = list(texts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def main_table(c: Collected, metric: str, paper: Mapping[tuple[Level, Level], str]) -> Table:
    """Rows × columns: mean ± standard deviation. paper: place -> what a paper printed, beside."""
    printed = {column for _, column in paper}
    columns = place_columns(c)[:1]
    for level in c.columns:
        text = level_text(level, c.column_keys)
        columns += [Column(text, 2)] + [Column(f"{text}, paper")] * (level in printed)
    rows = []
    for row in c.rows:
        values: list[object] = [c.row_texts[row]]
        for column in c.columns:
            group, e = c.groups.get((row, column)), c.estimates(metric).get((row, column), NOTHING)
            values.append(e if e.n or e.diverged or group is None else state_text(group))
            if column in printed:
                values.append(paper.get((row, column)))
        rows.append(values)
    caption = f"{metric_text(metric).capitalize()}, by {heading(c.row_keys)} and {heading(c.column_keys)}."
    return Table(
        f"main_{slug(metric)}", caption + " " + seeds_text(c), tuple(columns), rows, short_note(rows)
    )


def groups_table(c: Collected, paper: Mapping[tuple[Level, Level], str] | None = None) -> Table:
    """One row per place in the tables: everything that is known of it. paper: as in `main_table`."""
    head, metric, (unit, seconds) = place_columns(c), c.metric, time_unit(c)
    head += [
        Column("seeds"),
        Column(metric_text(metric), 2),
        *[Column("paper")] * bool(paper),
        Column("95 % interval"),
        Column("training error, %", 2),
        Column("parameters, M", 2),
        Column("multiply-adds, M", 1),
        Column(unit, 1),
    ]
    rows = []
    for place in c.places:
        group, e, time = c.groups[place], c.estimates(metric)[place], c.estimates("seconds")[place]
        rows.append(
            [
                *place_cells(c, *place),
                seeds_cell(group, e),
                e if e.n or e.diverged else state_text(group),
                *([paper.get(place)] if paper else []),
                interval(e, 2),
                c.estimates(TRAIN_ERROR)[place],
                float(group["parameters"].iloc[0]) / MILLION,
                float(group["multiply_adds"].iloc[0]) / MILLION,
                time.mean / seconds if time.n else None,
            ]
        )
    caption = (
        "Mean ± standard deviation over seeds, Student-t 95 % interval of the mean, parameters, "
        "multiply-adds of one forward pass of one image, and mean time to train and evaluate one cell."
    )
    return Table("groups", caption, tuple(head), rows, short_note(rows))


def open_table(c: Collected) -> Table:
    """Cells that have no number, with the reason."""
    cells = c.cells[c.cells["state"] != "finished"]
    rows = [
        [
            cell["name"],
            cell["state"],
            why(cell),
            int(cell["epoch"]) if cell["epoch"] > 0 else None,
            cell["identity"],
        ]
        for cell in cells.to_dict("records")
    ]
    columns = (
        Column("cell", left=True),
        Column("state", left=True),
        Column("reason", left=True),
        Column("epoch"),
    )
    return Table("open_cells", "Cells without a number.", (*columns, Column("identity", left=True)), rows)


def why(cell: Mapping[Any, Any]) -> str:
    """The reason for a state, in words."""
    known = {
        "planned": "never started",
        "queued": "waits in the queue",
        "running": "is being trained",
        "killed": "was interrupted; running it again resumes it",
    }
    return str(cell["reason"] or known.get(str(cell["state"]), "no reason was recorded"))


def curves(c: Collected, metrics: Iterable[str]) -> pd.DataFrame:
    """Mean of metrics over the cells of each place, by epoch: row, column, epoch, step, n, metrics.

    Where a place has finished cells, only those; otherwise whatever there is.
    """
    wanted = [metric for metric in metrics if metric in c.history.columns]
    places = list(c.groups)
    number: dict[str, int] = {}
    for index, group in enumerate(c.groups.values()):
        finished = group.loc[group["state"] == "finished", "identity"]
        number.update(dict.fromkeys(finished if len(finished) else group["identity"], index))
    identity = c.history["identity"].astype("category")
    lookup = np.array([number.get(name, -1) for name in identity.cat.categories], dtype=int)
    place = lookup[identity.cat.codes.to_numpy()] if len(lookup) else np.empty(0, dtype=int)
    kept = c.history[["epoch", "step", *wanted]].assign(place=place)[place >= 0]
    grouped = kept.groupby(["place", "epoch"])
    mean = grouped.mean()
    mean.insert(0, "n", grouped.size())
    mean = mean.reset_index()
    mean.insert(0, "column", pd.Series([places[i][1] for i in mean["place"]], dtype=object))
    mean.insert(0, "row", pd.Series([places[i][0] for i in mean["place"]], dtype=object))
    return mean.drop(columns="place")


def seeds_text(c: Collected) -> str:
    """How many seeds stand behind each number."""
    sizes = {len(group) for group in c.groups.values()}
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
    return " ".join(notes)


def seeds_cell(group: pd.DataFrame, e: Estimate) -> str:
    """How many cells stand behind a mean: "5", "4 of 5", "4 of 5, 1 diverged"."""
    text = str(e.n) if e.n == len(group) else f"{e.n} of {len(group)}"
    return text + (f", {e.diverged} diverged" if e.diverged else "")


def slug(text: str) -> str:
    """A metric as part of a file name."""
    return text.replace("/", "_")


def _numeric(levels: Iterable[Level]) -> bool:
    return all(isinstance(level[0], int | float) for level in levels if level)
