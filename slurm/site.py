"""What a cluster offers: its partitions, their limits, and the names of their nodes."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lightning_module.support.errors import ConfigError, nearest
from slurm import cluster
from slurm.options import minutes
from slurm.resources import FEW, Limits


def parse_partitions(text: str) -> tuple[dict[str, Limits], str]:
    """Limits by partition, and the default partition, from `sinfo -h -o %P|%l|%c|%m|%G`."""
    partitions: dict[str, Limits] = {}
    default = ""
    for name, limit, cpus, memory, gres in cluster.rows(text, 5):
        if name.endswith("*"):
            name = default = name[:-1]
        before = partitions.get(name, Limits(None, 0, 0.0, 0))
        gpus = sum(int(count) for count in re.findall(r"\bgpu(?::[^:,]+)*?:(\d+)(?![^,(])", gres))
        partitions[name] = Limits(
            None if limit in ("infinite", "n/a", "UNLIMITED") else minutes(limit),
            max(before.cpus, int(cpus.rstrip("+"))),
            max(before.mem_gb, int(memory.rstrip("+")) / 1024),
            max(before.gpus, gpus),
        )
    return partitions, default


@dataclass(frozen=True)
class Site:
    """What a cluster offers. partitions: by name. default: its default partition. largest_array: elements.

    hidden: partitions that sinfo does not show, though one may use them. routes: whether the site may choose the
    partition of a job that names none, by a plug-in.
    """

    partitions: Mapping[str, Limits]
    default: str
    largest_array: int
    hidden: frozenset[str] = frozenset()
    routes: bool = False

    @property
    def shown(self) -> dict[str, Limits]:
        """The partitions that may be suggested."""
        return {name: limits for name, limits in self.partitions.items() if name not in self.hidden}

    def limits(self, partition: str | None) -> Limits:
        """Of a partition, or of several, separated by commas: the job runs in any of them."""
        if not partition and self.routes:
            return replace(self._default(), decided=False)
        names = (partition or self.default).split(",")
        for name in names:
            if name not in self.partitions:
                wrong = f"hydra.launcher.partition={name} does not exist; "
                none = "the cluster has no default partition; choose one with hydra.launcher.partition: "
                raise ConfigError((wrong if name else none) + nearest(name, self.shown))
        some = [self.partitions[name] for name in names]
        times = [limits.minutes for limits in some if limits.minutes is not None]
        return Limits(
            min(times, default=None),
            min(limits.cpus for limits in some),
            min(limits.mem_gb for limits in some),
            min(limits.gpus for limits in some),
            elsewhere={name: limits.gpus for name, limits in self.shown.items() if limits.gpus},
        )

    def _default(self) -> Limits:
        """Of the default partition, or the most that any offers."""
        if self.default:
            return self.partitions[self.default]
        every = self.shown.values()
        times = [limits.minutes for limits in every]
        return Limits(
            None if None in times else max((time for time in times if time), default=None),
            max((limits.cpus for limits in every), default=0),
            max((limits.mem_gb for limits in every), default=0.0),
            max((limits.gpus for limits in every), default=0),
        )

    def without_gpus(self, partition: str) -> str:
        """A sentence about a partition that has no GPU where others have; "" about any other."""
        having = [name for name, limits in self.shown.items() if limits.gpus]
        if not having or self.limits(partition).gpus:
            return ""
        return (
            f"No GPU is asked for: {partition} has none, so cells train on CPUs. "
            f"With GPUs: hydra.launcher.partition={' or '.join(having[:FEW])}"
        )


def discover() -> Site:
    """What this cluster offers; cluster.NoProgramError where there is none."""
    for command in ("sbatch", "srun", "scontrol"):
        if not shutil.which(command):
            raise cluster.NoProgramError(f"{command} {cluster.NOT_HERE}")
    columns = ("-h", "-o", "%P|%l|%c|%m|%G")
    partitions, default = parse_partitions(cluster.call("sinfo", "-a", *columns))
    shown, _ = parse_partitions(cluster.call("sinfo", *columns))
    config = dict(re.findall(r"(\w+)\s*=\s*(\S+)", cluster.call("scontrol", "show", "config")))
    return Site(
        partitions,
        default,
        int(config.get("MaxArraySize", 1001)),
        frozenset(partitions) - set(shown),
        any(config.get(key, "(null)") != "(null)" for key in ("JobSubmitPlugins", "CliFilterPlugins")),
    )


def hosts(partition: str) -> list[str]:
    """The nodes of a partition ("": of all), by the names that jobs use."""
    where = ["-p", partition] if partition else ["-a"]
    return sorted(set(cluster.call("sinfo", "-h", "-N", "-o", "%N", *where).split()))


def unresolvable(names: Sequence[str]) -> list[str]:
    """Those of these host names that have no address here."""
    missing = []
    for name in names:
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            missing.append(name)
    return missing
