"""How speed grows with devices and nodes: strong and weak scaling, from benchmarks. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations.verdicts.statistics import Estimate, estimate
from reports.numbers.join import SPEED, Collected, varies
from reports.pages.document import (
    Column,
    Figure,
    Inline,
    Interval,
    Section,
    Strong,
    Table,
    Text,
    text_columns,
)
from reports.pages.svg import SERIES, Axis, Panel, linear, swatch
from reports.sections.figures import range_of
from reports.sections.speed import measured
from reports.words import HOLE, interval, number, series, settings_text

DEVICES, NODES, BATCH = "trainer.devices", "trainer.nodes", "recipe.batch_size"


@dataclass(frozen=True)
class ScalingLine:
    """What stays the same while processes are added.

    kind: "strong", the same batch shared out, or "weak", the same number of images on each device. share: that
    number of images, in all (strong) or on each device (weak). rest: what else is compared, "" for nothing.
    """

    rest: str
    kind: str
    share: int

    @property
    def text(self) -> str:
        """ "weak: 64 images on each device"."""
        return f"{self.kind}: {self.share} images {'in all' if self.kind == 'strong' else 'on each device'}"


@dataclass(frozen=True)
class ScalingPoint:
    """Several processes against the fewest of their line: means over seeds, each pair of one seed.

    devices: on each node. speed: images/s. efficiency: in percent of so many times the speed of the fewest.
    """

    line: ScalingLine
    devices: int
    nodes: int
    batch: int
    speed: Estimate
    speed_up: Estimate
    efficiency: Estimate

    @property
    def processes(self) -> int:
        """On all nodes together."""
        return self.devices * self.nodes

    @property
    def layout(self) -> str:
        """Nodes times devices of each, as " (2 x 4)"; nothing on one node."""
        return f" ({self.nodes} x {self.devices})" if self.nodes > 1 else ""


def scaling_lead(c: Collected) -> Text | None:
    """What is left of the ideal on the most devices; None where their number does not vary."""
    points = [point for point in scaling_points(c) if point.efficiency.n]
    counts = sorted({point.processes for point in points})
    if len(counts) < 2:
        return None
    fewest, most = counts[0], counts[-1]
    told: list[Inline] = []
    for point in points:
        if point.processes == most:
            of = f" of {point.line.rest}" if point.line.rest else ""
            bounds = interval(point.efficiency, 0)
            known = "" if bounds == HOLE else f" (95 % interval {bounds})"
            kept = Strong(f"{number(point.efficiency.mean, 0)} %")
            told.append((f"{point.line.kind} scaling{point.layout}{of} keeps ", kept, known))
    one = "one" if fewest == 1 else str(fewest)
    ideal = f"the ideal, {most / fewest:g} times the speed of {one}"
    return Text((f"On {most} devices, of {ideal}, ", *series(told), "."), "lead")


def scaling_points(c: Collected) -> list[ScalingPoint]:
    """Strong and weak scaling, from the fewest devices on; [] where their number does not vary."""
    if not {DEVICES, NODES, BATCH} <= set(c.cells.columns):
        return []
    known = (DEVICES, NODES, BATCH, "trainer.batch_norm_devices", "seed")
    others = [key for key in c.studied if key not in known and key in c.cells and varies(c.cells, key)]
    cells = measured(c).cells
    cells = cells.assign(
        processes=cells[DEVICES].astype(int) * cells[NODES].astype(int),
        rest=pd.Series([tuple(levels) for levels in cells[others].to_numpy()], dtype=object),
    )
    points = []
    for rest in dict.fromkeys(cells["rest"]):
        group = cells[[levels == rest for levels in cells["rest"]]]
        fewest = group["processes"].min()
        for batch in sorted(set(group.loc[group["processes"] == fewest, BATCH])):
            same = group[BATCH] == batch
            alike = group[BATCH] * fewest == batch * group["processes"]
            for kind, share, chosen in (
                ("strong", batch, group[same]), ("weak", batch // fewest, group[alike])
            ):  # fmt: skip
                if chosen["processes"].nunique() > 1:
                    points += _points(ScalingLine(settings_text(rest, others), kind, share), chosen)
    return points


def _points(line: ScalingLine, cells: pd.DataFrame) -> list[ScalingPoint]:
    """A point per number of processes and nodes."""
    fewest = cells["processes"].min()
    base = _by_seed(cells[cells["processes"] == fewest])
    points = []
    places: Any = cells.groupby(["processes", NODES])
    for (processes, nodes), part in places:
        speeds = _by_seed(part)
        ratios = [speed / base[seed] for seed, speed in speeds.items() if seed in base]
        planned = len(part)
        if processes == fewest:
            ratios, planned = ratios[:1], 0  # one, whatever was measured: nothing to give a spread of
        speed = estimate(list(speeds.values()), planned=len(part))
        speed_up = estimate(ratios, planned=planned)
        efficiency = estimate([100 * ratio * fewest / processes for ratio in ratios], planned=planned)
        devices, batch = processes // nodes, int(part[BATCH].iloc[0])
        points.append(ScalingPoint(line, devices, nodes, batch, speed, speed_up, efficiency))
    return points


def _by_seed(cells: pd.DataFrame) -> dict[int, float]:
    """Images/s of the cells that finished, by seed."""
    done = cells[(cells["state"] == "finished") & cells[SPEED].notna()]
    return dict(zip(done["seed"], done[SPEED], strict=True))


def scaling_section(c: Collected) -> Section:
    """Speed-up and efficiency by number of devices, strong and weak, as table and figure."""
    points = scaling_points(c)
    if not points:
        return Section("", ())
    others, fewest = any(point.line.rest for point in points), min(point.processes for point in points)
    head = text_columns(*[""] * others, "scaling")
    head += [Column("devices"), Column("batch"), Column("images/s", 0)]
    head += [Column("speed-up", 2), Column("efficiency, %", 1), Column("95 % interval", 1), Column("pairs")]
    rows: list[list[object]] = []
    for point in points:
        devices = f"{point.processes}{point.layout}"
        rows.append([*[point.line.rest] * others, point.line.text, devices, point.batch])
        rows[-1] += [mean if mean.n else None for mean in (point.speed, point.speed_up, point.efficiency)]
        rows[-1].append(Interval(point.efficiency))
        rows[-1].append(point.efficiency.n if point.processes > fewest else None)
    one = "one device" if fewest == 1 else f"{fewest} devices"
    caption = (
        f"Speed-up: images/s against {one}, in pairs of one seed; efficiency: the part of the ideal speed-up, "
        "with Student's 95 % interval over the pairs. Strong scaling shares out the same batch; weak scaling "
        "has the same number of images on each device. In brackets: nodes x devices of each."
    )
    table, figure = Table("scaling", caption, head, rows), scaling_figure(points)
    return Section("Scaling", (table, figure) if figure else (table,))


def scaling_figure(points: Sequence[ScalingPoint]) -> Figure | None:
    """Efficiency with interval, and speed-up beside the ideal; None before anything was measured."""
    lines: dict[ScalingLine, list[ScalingPoint]] = {}
    for point in points:
        if point.efficiency.n:
            lines.setdefault(point.line, []).append(point)
    shown = dict(list(lines.items())[:SERIES])
    if not any(len(along) > 1 for along in shown.values()):
        return None
    counts = sorted({point.processes for point in points})
    x = Axis("devices", counts[0] / 1.15, counts[-1] * 1.15, [(n, str(n)) for n in counts], log=True)
    ends = [point.efficiency for along in shown.values() for point in along]
    top = range_of([0.0, 105.0, *(e.mean for e in ends), *(e.high for e in ends if e.n > 2)])[1]
    efficiency = Panel("Efficiency, with 95 % interval", x, linear("of the ideal, %", 0, top))
    best = max(1.0, *(point.speed_up.mean for along in shown.values() for point in along))
    ideal = counts[-1] / counts[0]
    speed_up = Panel("Speed-up", x, linear("times", 0, 1.08 * max(best, ideal)))
    efficiency.line([(n, 100.0) for n in counts], 0, "ideal", "dashed")
    steps = [counts[0] * ideal ** (i / 40) for i in range(41)]
    speed_up.line([(n, n / counts[0]) for n in steps], 0, "ideal", "dashed")
    legend = [("ideal", swatch(0, "dashed"))]
    for index, (line, along) in enumerate(shown.items()):
        shift = 8 * (index - (len(shown) - 1) / 2)
        for panel, unit, means in (
            (efficiency, " %", [point.efficiency for point in along]),
            (speed_up, " times", [point.speed_up for point in along]),
        ):
            at = [panel.px(point.processes) + shift for point in along]
            panel.connect([(x_px, mean.mean) for x_px, mean in zip(at, means, strict=True)], index)
            for x_px, mean, point in zip(at, means, along, strict=True):
                panel.bar(x_px, mean.low, mean.high, index)
                where = f"{point.devices} devices" + f" on {point.nodes} nodes" * (point.nodes > 1)
                tip = f"{line.text}, {where}: {number(mean.mean, 2)}{unit} (n = {mean.n})"
                panel.marker(x_px, mean.mean, index, tip)
        legend.append((", ".join(filter(None, [line.rest, line.text])), swatch(index)))
    caption = (
        "Efficiency and speed-up against the number of devices, means over seeds with their 95 % interval; "
        "dashed: the ideal." + (f" Shown: {len(shown)} of {len(lines)} lines." * (len(shown) < len(lines)))
    )
    return Figure("scaling", caption, (efficiency.svg(), speed_up.svg()), tuple(legend))
