"""How speed grows with devices and nodes: strong and weak scaling, from benchmarks. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.numbers import statistics
from reports.numbers.join import Collected, Level, level_text
from reports.numbers.statistics import Estimate
from reports.pages.document import Block, Column, Figure, Section, Table, Text, interval, number
from reports.pages.svg import SERIES, Axis, Panel, linear, range_of, swatch
from reports.sections.speed import IMAGES, measured
from reports.sections.tables import listed

DEVICES, NODES, BATCH = "trainer.devices", "trainer.nodes", "recipe.batch_size"


@dataclass(frozen=True)
class Point:
    """Several processes against the fewest: means over seeds, each pair of one seed.

    kind: "strong", the same batch shared out, or "weak", the same number of images on each device. rest: what
    else is compared, a line each. efficiency: in percent of so many times the speed of the fewest.
    """

    rest: Level
    kind: str
    devices: int
    nodes: int
    batch: int
    share: int
    speed: Estimate
    speed_up: Estimate
    efficiency: Estimate

    @property
    def processes(self) -> int:
        """On all nodes together."""
        return self.devices * self.nodes

    @property
    def what(self) -> str:
        """The kind, with what stays the same."""
        return f"{self.kind}: {self.share} images " + (
            "in all" if self.kind == "strong" else "on each device"
        )


def answer(c: Collected) -> Text | None:
    """What is left of the ideal on the most devices; None where their number does not vary."""
    points = [point for point in scaling_points(c) if point.efficiency.n]
    most, fewest = (choose((p.processes for p in points), default=0) for choose in (max, min))
    told = [
        f"{point.kind} scaling{_of(point, c)} keeps **{number(point.efficiency.mean, 0)} %**"
        f"{_interval(point.efficiency)}"
        for point in points
        if point.processes == most > fewest
    ]
    one = "one" if fewest == 1 else str(fewest)
    text = f"On {most} devices, of the ideal, {most / max(fewest, 1):g} times the speed of {one}, {listed(told)}."
    return Text(text, "lead") if told else None


def _of(point: Point, c: Collected) -> str:
    nodes = f" ({point.nodes} x {point.devices})" if point.nodes > 1 else ""
    return nodes + (f" of {level_text(point.rest, _others(c))}" if point.rest else "")


def _interval(e: Estimate) -> str:
    return "" if math.isnan(e.low) else f" (95 % interval {interval(e, 0)})"


def _others(c: Collected) -> tuple[str, ...]:
    """Studied keys that are compared beside the number of devices."""
    known = (DEVICES, NODES, BATCH, "trainer.batch_norm_devices", "seed")
    return tuple(
        key
        for key in c.studied
        if key not in known and key in c.cells and c.cells[key].map(repr).nunique() > 1
    )


def scaling_points(c: Collected) -> list[Point]:
    """Strong and weak scaling, from the fewest devices on; [] where their number does not vary."""
    if not {DEVICES, NODES, BATCH} <= set(c.cells.columns):
        return []
    cells = measured(c).cells
    cells = cells.assign(
        processes=[int(d) * int(n) for d, n in zip(cells[DEVICES], cells[NODES], strict=True)],
        rest=pd.Series([tuple(row) for row in cells[list(_others(c))].to_numpy()], dtype=object),
    )
    points = []
    for rest in dict.fromkeys(cells["rest"]):
        group = cells[[value == rest for value in cells["rest"]]]
        fewest = group["processes"].min()
        for batch in sorted(set(group.loc[group["processes"] == fewest, BATCH])):
            same = group[BATCH] == batch
            alike = group[BATCH] * fewest == batch * group["processes"]
            base = _by_seed(group[same & (group["processes"] == fewest)], IMAGES)
            for kind, chosen in (("strong", group[same]), ("weak", group[alike])):
                if chosen["processes"].nunique() > 1:
                    share = batch if kind == "strong" else batch // fewest
                    points += _line(rest, kind, share, chosen, base, fewest)
    return points


def _line(
    rest: Level, kind: str, share: int, cells: pd.DataFrame, base: dict[int, float], fewest: int
) -> list[Point]:
    points = []
    places: Any = cells.groupby(["processes", NODES])
    for (processes, nodes), part in places:
        devices, speed = processes // nodes, _by_seed(part, IMAGES)
        ratios = [value / base[seed] for seed, value in speed.items() if seed in base]
        if processes == fewest:
            ratios = ratios[:1]  # one, whatever was measured: nothing to give a spread of
        planned = len(part) if processes != fewest else 0
        points.append(
            Point(
                rest,
                kind,
                devices,
                nodes,
                int(part[BATCH].iloc[0]),
                share,
                statistics.estimate(list(speed.values()), planned=len(part)),
                statistics.estimate(ratios, planned=planned),
                statistics.estimate([100 * ratio * fewest / processes for ratio in ratios], planned=planned),
            )
        )
    return points


def _by_seed(cells: pd.DataFrame, column: str) -> dict[int, float]:
    done = cells[(cells["state"] == "finished") & cells[column].notna()]
    return dict(zip(done["seed"], done[column], strict=True))


def scaling(c: Collected) -> Section:
    """Speed-up and efficiency by number of devices, strong and weak, as table and figure."""
    points = scaling_points(c)
    if not points:
        return Section("", ())
    others, fewest = _others(c), min(p.processes for p in points)
    head = [Column(level, left=True) for level in (["", "scaling"] if others else ["scaling"])]
    head += [Column("devices"), Column("batch"), Column("images/s", 0)]
    head += [Column("speed-up", 2), Column("efficiency, %", 1), Column("95 % interval"), Column("pairs")]
    rows = [
        [
            *([level_text(p.rest, others)] if others else []),
            p.what,
            f"{p.processes}" + (f" ({p.nodes} x {p.devices})" if p.nodes > 1 else ""),
            p.batch,
            *(e if e.n else None for e in (p.speed, p.speed_up, p.efficiency)),
            interval(p.efficiency, 1),
            p.efficiency.n if p.processes > fewest else None,
        ]
        for p in points
    ]
    one = "one device" if fewest == 1 else f"{fewest} devices"
    caption = (
        f"Speed-up: images/s against {one}, in pairs of one seed; efficiency: the part of the ideal speed-up, "
        "with Student's 95 % interval over the pairs. Strong scaling shares out the same batch; weak scaling "
        "has the same number of images on each device. In brackets: nodes x devices of each."
    )
    blocks: list[Block] = [Table("scaling", caption, tuple(head), rows)]
    if figure := scaling_figure(c, points):
        blocks.append(figure)
    return Section("Scaling", tuple(blocks))


def scaling_figure(c: Collected, points: Sequence[Point]) -> Figure | None:
    """Efficiency with interval, and speed-up beside the ideal; None before anything was measured."""
    lines: dict[tuple[Level, str, int], list[Point]] = {}
    for point in points:
        if point.efficiency.n:
            lines.setdefault((point.rest, point.kind, point.share), []).append(point)
    shown = list(lines.items())[:SERIES]
    if not any(len(line) > 1 for _, line in shown):
        return None
    counts = sorted({point.processes for point in points})
    x = Axis("devices", counts[0] / 1.15, counts[-1] * 1.15, [(n, str(n)) for n in counts], log=True)
    ends = [p.efficiency for _, line in shown for p in line]
    top = range_of([0.0, 105.0, *(e.mean for e in ends), *(e.high for e in ends if e.n > 2)])[1]
    efficiency = Panel("Efficiency, with 95 % interval", x, linear("of the ideal, %", 0, top))
    best = max(1.0, *(p.speed_up.mean for _, line in shown for p in line))
    ideal = counts[-1] / counts[0]
    speed_up = Panel("Speed-up", x, linear("times", 0, 1.08 * max(best, ideal)))
    efficiency.line([(n, 100.0) for n in counts], 0, "ideal", "dashed")
    steps = [counts[0] * ideal ** (i / 40) for i in range(41)]
    speed_up.line([(n, n / counts[0]) for n in steps], 0, "ideal", "dashed")
    legend = [("ideal", swatch(0, "dashed"))]
    for index, (_, line) in enumerate(shown):
        shift = 8 * (index - (len(shown) - 1) / 2)
        for panel, name in ((efficiency, "efficiency"), (speed_up, "speed_up")):
            found: list[Estimate] = [getattr(p, name) for p in line]
            at = [panel.px(p.processes) + shift for p in line]
            panel.line([(a, e.mean) for a, e in zip(at, found, strict=True)], index, style="faint", px=True)
            for a, e, p in zip(at, found, line, strict=True):
                if e.n > 1:
                    panel.bar(a, e.low, e.high, index)
                where = f"{p.devices} devices on {p.nodes} nodes" if p.nodes > 1 else f"{p.devices} devices"
                unit = " %" if name == "efficiency" else " times"
                panel.marker(a, e.mean, index, f"{p.what}, {where}: {number(e.mean, 2)}{unit} (n = {e.n})")
        what = f"{level_text(line[0].rest, _others(c))}, " if line[0].rest else ""
        legend.append((what + line[0].what, swatch(index)))
    caption = (
        "Efficiency and speed-up against the number of devices, means over seeds with their 95 % interval; "
        "dashed: the ideal." + (f" Shown: {len(shown)} of {len(lines)} lines." * (len(shown) < len(lines)))
    )
    return Figure("scaling", caption, (efficiency.svg(), speed_up.svg()), tuple(legend))
