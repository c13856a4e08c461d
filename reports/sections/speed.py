"""What benchmarks (`mode=benchmark`) measured, as tables of speeds. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.verdicts.statistics import Estimate
from lightning_module.cell.record import last_event
from reports.numbers.join import SPEED, Collected
from reports.pages.document import Block, Column, Section, Table, Text
from reports.sections import dots
from reports.sections.tables import place_columns, seeds_cell, state_text
from reports.words import GIB, number

PARTS = ("data_ms", "forward_ms", "backward_ms", "optimizer_ms", "communication_ms")
"""Of a step, taken apart."""


def measured(c: Collected) -> Collected:
    """The same, with everything that each benchmark measured as a column of its cell."""
    last = c.history.drop_duplicates("identity", keep="last").astype({"identity": object})
    names = [name for name in last.columns if name == "identity" or name not in c.cells]
    cells = c.cells.merge(last[names], on="identity", how="left")
    told = [last_event(c.events.get(identity, ()), "benchmark") for identity in cells["identity"]]
    cells["floor_ms"] = [_floor(event) for event in told]
    cells["over_floor"] = cells.get("step_ms", math.nan) / cells["floor_ms"]
    cells["steady"] = [event.get("steady") for event in told]
    return replace(c, cells=cells)


def _floor(event: Mapping[str, Any]) -> float:
    """Milliseconds that a step cannot go below: the longest of its floors."""
    known = [value for value in event.get("floor_seconds", {}).values() if value is not None]
    return 1000 * max(known, default=math.nan)


def speed_lead(c: Collected) -> Text:
    """The fastest and the slowest place."""
    speeds = {place: mean.mean for place in c.places if (mean := place.mean(SPEED)).n}
    if not speeds:
        return Text("No cell has finished.", "lead")
    fastest, slowest = max(speeds, key=speeds.__getitem__), min(speeds, key=speeds.__getitem__)
    text = f"The fastest ({fastest.text or 'the only one'}) trains {number(speeds[fastest], None)} images/s"
    if fastest is not slowest:
        times = number(speeds[fastest] / speeds[slowest], 2)
        text += f", {times} times as many as the slowest ({slowest.text})"
    return Text(text + ".", "lead")


def speed_section(c: Collected, drawn: bool) -> Section:
    """Every place: how fast, how near the device's limit, where a step's time goes; drawn: as a figure too."""
    c = measured(c)
    columns: list[tuple[Column, str, float]] = [
        (Column("images/s", 0), SPEED, 1),
        (Column("step, ms", 1), "step_ms", 1),
        (Column("95th percentile", 1), "step_ms_p95", 1),
        (Column("floor, ms", 1), "floor_ms", 1),
        (Column("step / floor", 2), "over_floor", 1),
        (Column("GFLOP/s", 1), "flops_per_second", 1e-9),
        (Column("of the peak, %", 1), "share_of_peak", 100),
        (Column("peak memory, GiB", 2), "peak_memory", 1 / GIB),
        (Column("mJ per image", 2), "joules_per_image", 1000),
    ]
    parts = [(Column(name.removesuffix("_ms"), 2), name, 1.0) for name in PARTS]
    steady = "Steady: how many cells had three windows of steps in a row that agree within 5 %."
    text = (
        "Mean over seeds of what each measured (± standard deviation); a step is the median one. Floor: the "
        "longest of the times that the convolutions alone, memory and the launches of a fully fused program take at "
        f"the device's measured limits. {steady}"
    )
    apart = (
        "Milliseconds of the parts of a step made one by one, so on a GPU their sum is more than a step; "
        "communication is what the exchange of gradients adds to the backward pass."
    )
    blocks: list[Block] = [_table(c, "speed", text, columns, True), _table(c, "parts", apart, parts, False)]
    if drawn and c.cells[SPEED].notna().any() and c.row_keys:
        blocks += dots.by_row(c)
    return Section("Speed", tuple(blocks))


def _table(
    c: Collected, name: str, caption: str, columns: Sequence[tuple[Column, str, float]], counted: bool
) -> Table:
    """A line per place; columns that nothing was measured for are left out."""
    kept = [each for each in columns if each[1] in c.cells and c.cells[each[1]].notna().any()]
    head = [*place_columns(c), Column("runs"), *(column for column, _, _ in kept)]
    head += [Column("steady")] * counted
    rows = []
    for place in c.places:
        values: list[object] = []
        for _, key, factor in kept:
            mean = _scaled(place.mean(key), factor)
            with_spread = key in (SPEED, "step_ms", *PARTS)
            values.append((mean if with_spread else mean.mean) if mean.n else None)
        speed = place.mean(SPEED)
        if not speed.n and values:
            values[0] = state_text(place)
        steady = sum(value is True for value in place.cells["steady"])
        values += [f"{steady} of {len(place.cells)}"] * counted
        rows.append([*place.labels, seeds_cell(place, speed), *values])
    return Table(name, caption, head, rows)


def _scaled(e: Estimate, factor: float) -> Estimate:
    """The estimate of the same thing in a unit that is 1 / factor times as large."""
    return replace(e, mean=e.mean * factor, sd=e.sd * factor, low=e.low * factor, high=e.high * factor)


def speed_threats(c: Collected) -> list[str]:
    """What could be wrong with the speeds."""
    steady = measured(c).cells["steady"]
    shaky = sum(value is False for value in steady)  # None: not measured
    text = f"{shaky} of {len(steady)} benchmarks had not become steady when they were measured."
    always = "Whatever else ran on the machine is part of the speeds; nothing here can tell it."
    return [text] * (shaky > 0) + [always]
