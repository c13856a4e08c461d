"""How long cells take, from what was measured where they run: for the plan, the report and SLURM's time limit.

Seconds of an optimizer step = layers x what starting kernels costs + work / speed, times how much slower or
faster than that the measured steps were: those of this very network, or else of all networks on that device.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_module.cell import record
from lightning_module.cell.identity import USUAL_LAYERS
from lightning_module.support.errors import ConfigError, nearest, spelled
from lightning_module.support.text import counted

RECORDS = 200
"""The newest records that are read for their speed; a few per network say it."""

PER_LAYER, PER_SECOND = 2e-4, {"gpu": 2e12, "cpu": 2.5e10}
"""Seconds per layer, and multiply-adds per second in fp32: a V100, eager; one core, ResNet-20 at 32x32."""

BENCHMARK_SECONDS = 60.0
"""A cell of `mode=benchmark`, however many steps its recipe has: it measures for so long, give or take a half."""


@dataclass(frozen=True)
class Work:
    """What decides how long a step of a cell takes on one device. images: of that device's part of the batch."""

    layers: int
    parameters: int
    multiply_adds: int
    images: int
    precision: str

    def assumed_seconds(self, kind: str, cores: int) -> float:
        """Seconds of a step by the constants above; the backward pass counts as two forward ones."""
        rate = PER_SECOND[kind] * (cores if kind == "cpu" else 1)
        return PER_LAYER * self.layers + 3 * self.multiply_adds * self.images / rate


def work(cell: Mapping[str, Any], devices: int) -> Work:
    """The work of a cell in the form of `Cell.to_json`, shared out over devices."""
    config = cell["config"]
    return Work(
        _layers(config),
        int(cell["parameters"]),
        int(cell["multiply_adds"]),
        int(config["recipe.batch_size"]) // devices,
        str(config["trainer.precision"]),
    )


def _layers(config: Mapping[str, Any]) -> int:
    """The depth of the network, if it has such a key; a family of somebody's own may mean something else by it."""
    depth = config.get("model.depth", USUAL_LAYERS)
    return depth if type(depth) is int and depth > 0 else USUAL_LAYERS


@dataclass(frozen=True)
class Measured:
    """Seconds per step of one record: of its work, on this device. cores: that a process used, on a CPU."""

    device: str
    kind: str
    work: Work
    seconds: float
    cores: int = 1


def measured(runs: Path) -> list[Measured]:
    """What the newest records of a runs folder say about speed, the newest first."""
    ages = sorted(((path.stat().st_mtime_ns, path) for path in runs.glob(f"*/{record.FILE}")), reverse=True)
    speeds = (speed(record.read(path.parent)) for _, path in ages[:RECORDS])
    return [one for one in speeds if one]


def speed(known: record.Record) -> Measured | None:
    """The median seconds per step of a record's epochs, evaluation included; None before the first epoch.

    The first epoch pays for the start, so it counts only where there is no other. The seconds of a benchmark are
    mostly not those of steps, but it measured those too.
    """
    if not known.epochs or not known.attempts or known.damage:
        return None
    about = known.attempts[-1]
    hardware = str(about.get("hardware", ""))
    gpus = re.fullmatch(r"\d+ x (.+)", hardware)  # "2 x NVIDIA H200"
    threads = re.fullmatch(r"(.+), (\d+) threads", hardware)
    device = gpus[1] if gpus else threads[1] if threads else hardware
    steps, rates = 0, []
    for epoch in known.epochs:
        if "step_ms" in epoch:
            rates.append(epoch["step_ms"] / 1000)
        elif epoch["step"] > steps:
            rates.append(epoch["seconds"] / (epoch["step"] - steps))
        steps = epoch["step"]
    try:
        return Measured(
            device,
            "gpu" if gpus else "cpu",
            work(known.cell, int(about.get("devices", 1))),
            statistics.median(rates[1:] or rates),
            int(threads[2]) if threads else 1,
        )
    except (KeyError, statistics.StatisticsError):
        return None


def used_hours(known: record.Record) -> float:
    """Device-hours of the epochs in a record; those of superseded attempts are not in it."""
    devices = int(known.attempts[-1].get("devices", 1)) if known.attempts else 1
    return devices * sum(float(epoch["seconds"]) for epoch in known.epochs) / 3600


UNITS = {"h": 1.0, "m": 1 / 60, "": 1.0}


def budget_hours(value: object) -> float:
    """Device-hours of a budget: "40h", "90m", or a number of hours; ConfigError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(h|m|)", str(value).strip())
    hours = float(match[1]) * UNITS[match[2]] if match else 0.0
    if isinstance(value, bool) or not 0 < hours < math.inf:
        raise ConfigError(
            f"budget={spelled(value)} is not an amount of device-hours; write a number above 0 with h or m, such as "
            "budget=40h or budget=90m"
        )
    return hours


@dataclass(frozen=True)
class Speed:
    """What is known of one device: its kind ("gpu" or "cpu") and what was measured on it.

    source: where estimates for networks that were not measured come from, for a reader.
    """

    kind: str
    source: str
    records: Sequence[Measured] = ()

    @cached_property
    def _paces(self) -> dict[Work | None, tuple[float, int]]:
        """Measured work -> (seconds as a multiple of the assumed ones, cores); under None, of all works together."""
        groups: dict[Work | None, list[Measured]] = {}
        for one in self.records:
            groups.setdefault(one.work, []).append(one)
            groups.setdefault(None, []).append(one)
        return {
            key: (
                statistics.median(
                    one.seconds / one.work.assumed_seconds(self.kind, one.cores) for one in group
                ),
                statistics.median_low(one.cores for one in group),
            )
            for key, group in groups.items()
        }

    def step_seconds(self, cell: Mapping[str, Any], devices: int, cores: int | None = None) -> float:
        """Expected seconds of an optimizer step of a cell on so many devices.

        cores: that each process has, on a CPU; None: as many as were measured, one where nothing was. More than
        were measured count as those: networks leave cores idle for which they have no work.
        """
        asked = work(cell, devices)
        if not self.records:
            return asked.assumed_seconds(self.kind, cores or 1)
        pace, used = self._paces.get(asked, self._paces[None])
        return pace * asked.assumed_seconds(self.kind, min(cores or used, used))

    def seconds(self, cell: Mapping[str, Any], devices: int, cores: int | None = None) -> float:
        """Expected seconds from start to end of a cell in the form of `Cell.to_json`; cores: see `step_seconds`."""
        if cell["config"].get("mode") == "benchmark":
            return BENCHMARK_SECONDS
        return int(cell["config"]["recipe.steps"]) * self.step_seconds(cell, devices, cores)

    def hours(self, cell: Mapping[str, Any], devices: int) -> float:
        """Expected device-hours of a whole cell: with several devices, the sum of theirs."""
        return devices * self.seconds(cell, devices) / 3600

    def is_measured(self, cell: Mapping[str, Any], devices: int) -> bool:
        """Whether this very network, batch and precision was measured."""
        return cell["config"].get("mode") != "benchmark" and work(cell, devices) in self._paces


def of_device(every: Iterable[Measured], wanted: str) -> Speed:
    """The speed of a device.

    wanted: "gpu", "cpu", a part of a device's name, or "auto": a GPU if one was measured, else what was. ConfigError
    for a name that no device has.
    """
    records = list(every)
    if wanted == "auto":
        records = [one for one in records if one.kind == "gpu"] or records
    elif wanted in PER_SECOND:
        records = [one for one in records if one.kind == wanted]
    else:
        known = list(dict.fromkeys(one.device for one in records))
        records = [one for one in records if wanted and wanted.lower() in one.device.lower()]
        if not records:
            raise ConfigError(
                f"--on {wanted}: nothing was measured on it; {nearest(wanted, ['auto', *PER_SECOND, *known])}"
            )
    if not records:
        kind = wanted if wanted in PER_SECOND else "gpu"
        unit = f"{PER_LAYER * 1000:g} ms per layer and {PER_SECOND[kind]:.1e} multiply-adds/s"
        device = "GPU" if kind == "gpu" else "CPU core"
        return Speed(kind, f"nothing measured yet; assumed: a {device} with {unit}")
    device = records[0].device
    records = [one for one in records if one.device == device]
    networks = len({one.work for one in records})
    source = (
        f"measured on {device} ({counted(len(records), 'run')} of "
        f"{counted(networks, 'network')}); others scaled from them by layers and multiply-adds"
    )
    return Speed(records[0].kind, source, records)
