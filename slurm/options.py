"""What a user of SLURM may say: the keys below `hydra.launcher`, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from lightning_module.cell.identity import flatten
from lightning_module.support.check import at_least, read_section
from lightning_module.support.errors import ConfigError, nearest

PER_CELL = ("time", "mem", "cpus_per_task", "partition", "constraint", "exclude", "gpus_per_node")
"""Keys that one cell may have its own value of."""

MANAGED = {
    "account": "account",
    "array": "array_parallelism",
    "chdir": "runs",
    "constraint": "constraint",
    "cpus-per-task": "cpus_per_task",
    "error": "runs",
    "exclude": "exclude",
    "gpus": "gpus_per_node",
    "gpus-per-node": "gpus_per_node",
    "gpus-per-task": "gpus_per_node",
    "gres": "gpus_per_node",
    "job-name": "runs",
    "mem": "mem",
    "mem-per-cpu": "mem",
    "mem-per-gpu": "mem",
    "no-requeue": "max_requeues",
    "nodes": "trainer.nodes",
    "ntasks": "trainer.devices and trainer.nodes",
    "ntasks-per-node": "trainer.devices",
    "output": "runs",
    "partition": "partition",
    "qos": "qos",
    "requeue": "max_requeues",
    "signal": "signal_seconds",
    "time": "time",
    "wckey": "wckey",
}
"""sbatch options that the launcher sets itself -> the key that governs them."""

NEVER = {
    "clusters": "whose jobs the other commands would not see; submit on a login node of that cluster",
    "help": "which submits nothing",
    "test-only": "which submits nothing; SLURM is asked before each submission anyway",
    "usage": "which submits nothing",
    "version": "which submits nothing",
    "wait": "which would hold up the command; hydra.launcher.wait=true follows the jobs to the end",
    "wrap": "but the launcher has a batch script; hydra.launcher.setup takes lines of it",
}
"""sbatch options that no sweep can have -> why."""


@dataclass(frozen=True)
class Options:
    """Parameters of a sweep on a cluster; see conf/hydra/launcher/slurm.yaml for what each means."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    wckey: str | None = None
    time: str | None = None
    nodes: int | None = None
    gpus_per_node: str | None = None
    cpus_per_task: int | None = None
    mem: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    cells_per_device: int = 1
    array_parallelism: int = 64
    setup: tuple[str, ...] = ()
    python: str | None = None
    signal_seconds: int = 120
    max_requeues: int = 5
    stop_after: int = 3
    wait: bool = False
    feed: bool = False
    sbatch: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()

    def of(self, config: Mapping[str, Any]) -> Options:
        """The options of one cell: those of the sweep, replaced where `cells` names this configuration."""
        flat = flatten(config)
        own: dict[str, Any] = {}
        for text in self.cells:
            (key, value), values = read_cells(text)
            if key in flat and flat[key] == value:
                own |= values
        return replace(self, **own)

    def check_cells(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """ConfigError for an entry of `cells` that none of these configurations is meant by."""
        flats = [flatten(config) for config in configs]
        for text in self.cells:
            (key, value), _ = read_cells(text)
            there = [flat[key] for flat in flats if key in flat]
            if value not in there:
                keys = dict.fromkeys(key for flat in flats for key in flat)
                missing, near = f"{key}={value}", nearest(value, dict.fromkeys(map(str, there)))
                if not there:
                    missing, near = key, nearest(key, keys)
                raise ConfigError(f'hydra.launcher.cells has "{text}": no cell has {missing}; {near}')

    @property
    def more_sbatch(self) -> dict[str, Any]:
        """The other options of sbatch: "hold" -> {"hold": True}, "reservation=x" -> {"reservation": "x"}."""
        return dict(map(_read_sbatch, self.sbatch))


def _read_sbatch(text: str) -> tuple[str, str | bool]:
    """One option of sbatch, as "reservation=x" or as people also write it: "--reservation x", "hold"."""
    match = re.fullmatch(r"\s*(?:--)?([a-zA-Z][\w-]+)(?:(?:\s*=|\s)\s*(.*?))?\s*", text)
    if not match:
        raise ConfigError(
            f'hydra.launcher.sbatch has "{text}"; an entry is a long option, such as "reservation=maint" or "hold"'
        )
    return match[1], True if match[2] is None else match[2]


def read_cells(text: str) -> tuple[tuple[str, Any], dict[str, Any]]:
    """ "model.depth=1202 time=2-00 mem=64G" -> (("model.depth", 1202), {"time": "2-00", "mem": "64G"})."""
    words = [word.partition("=") for word in text.split()]
    if len(words) < 2 or not all(equals for _, equals, _ in words):
        raise ConfigError(
            f'hydra.launcher.cells has "{text}"; an entry looks like "model.depth=1202 time=2-00 mem=64G"'
        )
    for key, _, _ in words[1:]:
        if key not in PER_CELL:
            raise ConfigError(
                f"hydra.launcher.cells: {key} is not a parameter of a cell; {nearest(key, PER_CELL)}"
            )
    own = {
        key: int(value) if key == "cpus_per_task" and re.fullmatch(r"-?\d+", value) else value
        for key, _, value in words[1:]
    }
    return (words[0][0], _value(text.split()[0])), own


def _value(override: str) -> Any:
    """What `key=value` means to Hydra, which read the value in the configuration too: true, 0.10, A."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        read = OverridesParser.create().parse_override(override)
        if read.is_sweep_override():
            raise ConfigError(f"hydra.launcher.cells: {override} is several values; give each an entry")
        value = read.value()
    except HydraException:
        raise ConfigError(f"hydra.launcher.cells: {override} is not a key and its value") from None
    return getattr(value, "text", value)  # of a quoted string


def minutes(text: str) -> int:
    """A SLURM time (90, 90:00, 1:30:00, 1-12, 1-12:30, 1-12:30:00) in minutes, rounded up."""
    match = re.fullmatch(r"(?:(\d+)-(\d+)(?::(\d+))?(?::(\d+))?)|(?:(?:(\d+):)?(\d+):(\d+))|(\d+)", text)
    if not match:
        raise ConfigError(f"hydra.launcher.time={text} is not a time such as 90, 1:30:00 or 2-12:00:00")
    days, day_hours, day_minutes, day_seconds, hours, mins, seconds, only = (
        int(n or 0) for n in match.groups()
    )
    total = days * 1440 + (day_hours + hours) * 60 + day_minutes + mins + only
    total += 1 if day_seconds + seconds else 0
    if not total:
        raise ConfigError(f"hydra.launcher.time={text} leaves no time to run; allowed are times above 0")
    return total


def gigabytes(text: str) -> float:
    """A SLURM memory size (16G, 16GB, 16000M, 16000) in GB; without a unit it is MB. 0: all that a node has."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text, re.IGNORECASE)
    if not match:
        raise ConfigError(
            f"hydra.launcher.mem={text} is not a memory size such as 16G or 16000M, or 0 for the whole node's"
        )
    return float(match[1]) * {"K": 2**-20, "M": 2**-10, "": 2**-10, "G": 1.0, "T": 1024.0}[match[2].upper()]


def gpu_count(text: str) -> int:
    """Number of GPUs in `2` or `a100:2`."""
    match = re.fullmatch(r"(?:[\w.-]+:)?(\d+)", text)
    if not match:
        raise ConfigError(
            f"hydra.launcher.gpus_per_node={text} is not a number or TYPE:NUMBER such as a100:2"
        )
    return int(match[1])


def _texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers where SLURM takes words: `time=90`, `mem=16000`, `gpus_per_node=2`."""
    words = {f.name for f in fields(Options) if f.type == "str | None"}
    return {
        key: str(value) if key in words and isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in values.items()
    }


def parse_options(values: Mapping[str, Any]) -> Options:
    """Options from `hydra.launcher`; ConfigError names the key, the value and what is allowed."""
    options = read_section(Options, _texts(values), "hydra.launcher")
    counts = ("array_parallelism", "cells_per_device", "signal_seconds", "max_requeues", "stop_after")
    at_least(options, "hydra.launcher", *counts)
    for key in options.more_sbatch:
        if why := NEVER.get(key.replace("_", "-")):
            raise ConfigError(f"hydra.launcher.sbatch has {key}, {why}")
        owner = MANAGED.get(key.replace("_", "-"))
        if owner and not (key == "gres" and "gpu" not in str(options.more_sbatch[key])):
            raise ConfigError(f"hydra.launcher.sbatch: {key} is set by the launcher; it follows from {owner}")
    own = [read_section(Options, read_cells(text)[1], "hydra.launcher.cells") for text in options.cells]
    for one in (options, *own):
        at_least(one, "hydra.launcher", "cpus_per_task")
        _ = one.time and minutes(one.time), one.mem and gigabytes(one.mem)
        _ = one.gpus_per_node and gpu_count(one.gpus_per_node)
    return options
