"""How long cells will take, from what was measured where they run; pure, but for reading the records.

Seconds of an optimizer step = layers x what starting kernels costs + work / speed, times how much slower or
faster the measured steps of that device were. A network that was measured itself is not modelled.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_module.cell import record

RECORDS = 200
"""The newest records that are read for their speed; a few per network say it."""

PER_LAYER, PER_SECOND = 2e-4, {"gpu": 2e12, "cpu": 2.5e10}
"""Seconds per layer, and multiply-adds per second in fp32: a V100, eager; one core, ResNet-20 at 32x32."""

BENCHMARK_SECONDS = 60.0
"""A cell of `mode=benchmark`, however many steps its recipe has: it measures for so long, give or take a half."""


def step_seconds(layers: int, multiply_adds: int, images: float, kind: str, cores: int = 1) -> float:
    """Seconds of a step before anything was measured; the backward pass counts as two forward ones."""
    rate = PER_SECOND[kind] * (cores if kind == "cpu" else 1)
    return PER_LAYER * layers + 3 * multiply_adds * images / rate


@dataclass(frozen=True)
class Work:
    """What decides how long a step of a cell takes on one device."""

    layers: int
    parameters: int
    multiply_adds: int
    images: int
    precision: str

    def predicted(self, kind: str) -> float:
        """Seconds of a step before anything was measured."""
        return step_seconds(self.layers, self.multiply_adds, self.images, kind)


def work(cell: Mapping[str, Any], devices: int) -> Work:
    """The work of a cell in the form of `Cell.to_json`, shared out over devices."""
    config = cell["config"]
    return Work(
        int(config["model.depth"]),
        int(cell["parameters"]),
        int(cell["multiply_adds"]),
        int(config["recipe.batch_size"]) // devices,
        str(config["trainer.precision"]),
    )


def is_benchmark(cell: Mapping[str, Any]) -> bool:
    """Whether a cell in the form of `Cell.to_json` measures speed instead of training."""
    return bool(cell["config"].get("mode") == "benchmark")


@dataclass(frozen=True)
class Measured:
    """Seconds per step of one record: of its work, on this device."""

    device: str
    kind: str
    work: Work
    seconds: float


def measured(runs: Path) -> list[Measured]:
    """What the newest records of a runs folder say about speed, the newest first."""
    ages = []
    for path in runs.glob(f"*/{record.FILE}"):
        ages.append((path.stat().st_mtime_ns, path))
    found = []
    for _, path in sorted(ages, reverse=True)[:RECORDS]:
        one = speed(record.read(path.parent))
        found += [one] if one else []
    return found


def speed(found: record.Record) -> Measured | None:
    """The median seconds per step of a record's epochs, evaluation included; None before the first epoch.

    The seconds of a benchmark are mostly not those of steps, but it measured those too.
    """
    if not found.epochs or not found.attempts or found.damage:
        return None
    about = found.attempts[-1]
    hardware = str(about.get("hardware", ""))
    kind = "gpu" if hardware[:1].isdigit() else "cpu"  # "2 x NVIDIA H200", or the name of a processor
    device = hardware.partition(" x ")[2] if kind == "gpu" else hardware.rpartition(", ")[0] or hardware
    steps, rates = 0, []
    for epoch in found.epochs:
        if "step_ms" in epoch:
            rates.append(epoch["step_ms"] / 1000)
        elif epoch["step"] > steps:
            rates.append(epoch["seconds"] / (epoch["step"] - steps))
        steps = epoch["step"]
    try:
        return Measured(
            device, kind, work(found.cell, int(about.get("devices", 1))), statistics.median(rates)
        )
    except (KeyError, statistics.StatisticsError):
        return None


@dataclass(frozen=True)
class Speed:
    """What is known of one device. source: where estimates for networks not measured come from."""

    kind: str
    source: str
    known: Mapping[Work, Sequence[float]] = field(default_factory=dict)
    slower: float = 1.0

    def hours(self, cell: Mapping[str, Any], devices: int) -> float:
        """Expected hours of a device for a whole cell; with several devices, the sum of theirs."""
        if is_benchmark(cell):
            return devices * BENCHMARK_SECONDS / 3600
        asked = work(cell, devices)
        known = self.known.get(asked)
        seconds = statistics.median(known) if known else self.slower * asked.predicted(self.kind)
        return devices * int(cell["config"]["recipe.steps"]) * seconds / 3600

    def is_measured(self, cell: Mapping[str, Any], devices: int) -> bool:
        """Whether this very network, batch and precision was measured."""
        return not is_benchmark(cell) and work(cell, devices) in self.known


def of_device(found: Iterable[Measured], wanted: str) -> Speed:
    """The speed of a device.

    wanted: "gpu", "cpu", a part of a device's name, or "auto": a GPU if one was measured, else what was.
    """
    every = list(found)
    kind = wanted if wanted in PER_SECOND else ""
    if wanted == "auto":
        every = [one for one in every if one.kind == "gpu"] or every
    elif kind:
        every = [one for one in every if one.kind == kind]
    else:
        every = [one for one in every if wanted.lower() in one.device.lower()]
    if not every:
        kind = kind or "gpu"
        unit = f"{PER_LAYER * 1000:g} ms per layer and {PER_SECOND[kind]:.1e} multiply-adds/s"
        return Speed(
            kind, f"nothing measured yet; assumed: a {'GPU' if kind == 'gpu' else 'CPU core'} with {unit}"
        )
    device, kind = every[0].device, every[0].kind
    here = [one for one in every if one.device == device]
    known: dict[Work, list[float]] = {}
    for one in here:
        known.setdefault(one.work, []).append(one.seconds)
    ratio = statistics.median(one.seconds / one.work.predicted(kind) for one in here)
    runs = f"{len(here)} run{'s' * (len(here) != 1)}"
    source = f"measured on {device} ({runs} of {len(known)} network{'s' * (len(known) != 1)}); others scaled from them"
    return Speed(kind, source + " by layers and multiply-adds", known, ratio)
