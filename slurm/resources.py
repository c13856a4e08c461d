"""From a cell to what it asks of the cluster, and from cells to job arrays. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ablations.sweep.estimate import Speed
from lightning_module.cell.identity import Cell
from lightning_module.support.errors import ConfigError
from lightning_module.support.text import counted
from slurm.options import Options, gigabytes, gpu_count, minutes

T = TypeVar("T")

LIMITS = (15, 30, 60, 120, 240, 480, 720, 1440, 2880, 4320, 7200, 10080)
"""Time limits in minutes. A few steps, so that there are few arrays and short cells can be backfilled."""

START_SECONDS = 120.0
"""Imports from a shared file system, data, the first steps."""

FEW = 3
"""Partitions that are suggested."""

SAFETY = 2.0
"""On the estimated time. Too short a limit costs a requeue, not a result."""


@dataclass(frozen=True)
class Limits:
    """What a partition offers on one node, and for how long (None: without end).

    elsewhere: GPUs of a node by partition.
    decided: False where the site may send the job to another partition, so that SLURM says what is too much.
    """

    minutes: int | None
    cpus: int
    mem_gb: float
    gpus: int = 0
    decided: bool = True
    elsewhere: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Resources:
    """What one job asks of SLURM, by submitit's names. mem: of each node. time: the limit, minutes.

    cells: that share the job.
    """

    nodes: int
    ntasks_per_node: int
    gpus_per_node: str | None
    cpus_per_task: int
    mem: str
    time: int
    partition: str | None
    constraint: str | None
    exclude: str | None
    cells: int = 1

    def __str__(self) -> str:
        gpus = f", GPUs {self.gpus_per_node}" if self.gpus_per_node else ""
        nodes = counted(self.nodes, "node")
        ranks = f"{nodes} x {counted(self.ntasks_per_node, 'rank')}"
        if self.cells > 1:
            ranks = f"{self.cells} cells a job"
        limit = f"{self.time // 60}:{self.time % 60:02} h"
        memory = self.mem if gigabytes(self.mem) else "all memory of a node"
        return f"{ranks}, {self.cpus_per_task} CPUs each{gpus}, {memory}, {limit}"


def kind(cell: Cell) -> str:
    """What a cell of a cluster trains on: "gpu" or "cpu"."""
    return "cpu" if cell.config["trainer"]["accelerator"] == "cpu" else "gpu"


def limit_minutes(seconds: float) -> int:
    """A time limit for what is expected to take so long: with start and safety, rounded up to one of LIMITS."""
    needed = SAFETY * (START_SECONDS + seconds) / 60
    return next((limit for limit in LIMITS if limit >= needed), LIMITS[-1])


def memory_gigabytes(cell: Cell) -> int:
    """Memory of the machine that the ranks of one node need.

    Saved activations take one byte per 24 multiply-adds (ResNet-20 to 1202 in fp32: within a third).
    Each process has PyTorch itself (with CUDA: 4 GB), parameters with gradients and momentum, and the data.
    """
    trainer = cell.config["trainer"]
    each = 2.0 + 12 * cell.parameters / 2**30
    if kind(cell) == "gpu":
        each += 2.0
    else:
        images = int(cell.config["recipe"]["batch_size"]) / (trainer["devices"] * trainer["nodes"])
        images = max(images, trainer["evaluation_batch_size"] / 8)
        each += 1.5 * images * cell.multiply_adds / 24 / 2**30
    return math.ceil(each * int(trainer["devices"]))


def resources(cell: Cell, options: Options, limits: Limits, speed: Speed) -> Resources:
    """What a cell asks for: what the user said, or else what the cell needs within the partition's limits.

    speed: of what the cell trains on; see `kind`.
    """
    options = options.of(cell.config)
    trainer = cell.config["trainer"]
    devices, nodes, gpu = int(trainer["devices"]), int(trainer["nodes"]), kind(cell) == "gpu"
    cells = options.cells_per_device if devices * nodes == 1 else 1
    tasks = devices * cells
    if options.nodes is not None and options.nodes != nodes:
        raise ConfigError(
            f"hydra.launcher.nodes={options.nodes} but trainer.nodes={nodes}: every rank needs a task; "
            f"set trainer.nodes={options.nodes}"
        )
    gpus = options.gpus_per_node or (str(devices) if gpu else None)
    if gpu and gpus and gpu_count(gpus) != devices:
        raise ConfigError(
            f"hydra.launcher.gpus_per_node={gpus} but trainer.devices={devices}: every rank has one GPU; "
            f"set trainer.devices={gpu_count(gpus)}"
        )
    if gpus and gpu_count(gpus) > limits.gpus and limits.decided:
        having = [name for name, there in limits.elsewhere.items() if there >= gpu_count(gpus)][:FEW]
        others = f"hydra.launcher.partition={' or '.join(having)}" if having else "fewer trainer.devices"
        raise ConfigError(
            f"trainer.devices={devices} GPUs are not on any node of the partition (at most {limits.gpus}); "
            f"choose {others}, or trainer.accelerator=cpu"
        )
    if trainer["threads"] > limits.cpus and limits.decided:
        raise ConfigError(
            f"trainer.threads={trainer['threads']} is more than a node of the partition has CPUs ({limits.cpus}); "
            "use at most that, or 0"
        )
    cores = options.cpus_per_task or (4 if gpu else trainer["threads"] or 2)
    if cores * tasks > limits.cpus and limits.decided:
        if options.cpus_per_task or tasks > limits.cpus:
            raise ConfigError(
                f"{tasks} tasks of {cores} CPUs do not fit on a node of {limits.cpus} CPUs; "
                "lower trainer.devices, hydra.launcher.cells_per_device or hydra.launcher.cpus_per_task"
            )
        cores = max(1, limits.cpus // tasks)
    memory = options.mem
    if memory is None:
        needed = cells * memory_gigabytes(cell)
        memory = f"{min(needed, int(limits.mem_gb)) if limits.decided else needed}G"
    elif gigabytes(memory) > limits.mem_gb and limits.decided:
        raise ConfigError(
            f"hydra.launcher.mem={memory} is more than a node of the partition has ({limits.mem_gb:.0f} GB)"
        )
    if options.time:
        limit = minutes(options.time)
        if limits.minutes is not None and limit > limits.minutes and limits.decided:
            raise ConfigError(
                f"hydra.launcher.time={options.time} is above the limit of {limits.minutes} minutes; "
                "leave it out: a cell that needs longer resumes after each limit"
            )
    else:
        # A cell that does not fit resumes after each limit.
        seconds = speed.seconds(cell.to_json(), devices * nodes, cores)
        seconds *= cells if gpu else 1  # at worst they take turns
        limit = min(limit_minutes(seconds), limits.minutes or LIMITS[-1])
    if 60 * (limit - 1) <= options.signal_seconds:  # SLURM may give the signal up to a minute early
        raise ConfigError(
            f"hydra.launcher.signal_seconds={options.signal_seconds} leaves no time to train within a limit of "
            f"{limit} minutes; raise hydra.launcher.time or lower signal_seconds"
        )
    return Resources(
        nodes=nodes,
        ntasks_per_node=tasks,
        gpus_per_node=gpus,
        cpus_per_task=cores,
        mem=memory,
        time=limit,
        partition=options.partition,
        constraint=options.constraint,
        exclude=options.exclude,
        cells=cells,
    )


def arrays(wanted: Sequence[tuple[T, Resources]], largest: int) -> list[tuple[Resources, list[T]]]:
    """Cells that ask for the same, in order, in arrays of at most `largest` elements; the longest cells first.

    Long cells first, because a sweep ends with its last cell.
    """
    groups: dict[Resources, list[T]] = {}
    for item, needs in wanted:
        groups.setdefault(needs, []).append(item)
    ordered = sorted(groups.items(), key=lambda group: -group[0].time)
    return [
        (needs, items[start : start + largest * needs.cells])
        for needs, items in ordered
        for start in range(0, len(items), largest * needs.cells)
    ]


def throttles(sizes: Sequence[int], parallelism: int) -> list[int]:
    """How many cells of each array may run at once, so that all arrays together run about `parallelism`.

    SLURM throttles an array, not a sweep; every array gets at least one.
    """
    total = sum(sizes)
    return [max(1, min(size, parallelism * size // total)) for size in sizes]
