"""What a cluster offers: its partitions, their limits, and the names of their nodes."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_module.support.errors import ConfigError, nearest
from slurm import cluster
from slurm.options import minutes
from slurm.resources import Limits


def parse_partitions(text: str) -> tuple[dict[str, Limits], str]:
    """Limits by partition, and the default partition, from `sinfo -h -o %P|%l|%c|%m|%G`."""
    partitions: dict[str, Limits] = {}
    default = ""
    for name, limit, cpus, memory, gres in cluster.rows(text, 5):
        if name.endswith("*"):
            name = default = name[:-1]
        before = partitions.get(name, Limits(None, 0, 0.0, 0))
        gpus = sum(int(count) for count in re.findall(r"gpu(?::[\w.-]+)*?:(\d+)", gres))
        partitions[name] = Limits(
            None if limit in ("infinite", "n/a", "UNLIMITED") else minutes(limit),
            max(before.cpus, int(cpus.rstrip("+"))),
            max(before.mem_gb, int(memory.rstrip("+")) / 1024),
            max(before.gpus, gpus),
        )
    return partitions, default


@dataclass(frozen=True)
class Site:
    """What a cluster offers. partitions: by name. default: its default partition. largest_array: elements."""

    partitions: Mapping[str, Limits]
    default: str
    largest_array: int

    def limits(self, partition: str | None) -> Limits:
        """Of a partition (or of several, separated by commas: the job runs in any of them)."""
        names = (partition or self.default).split(",")
        for name in names:
            if name not in self.partitions:
                wrong = f"hydra.launcher.partition={name} does not exist; "
                none = "the cluster has no default partition; choose one with hydra.launcher.partition: "
                raise ConfigError((wrong if name else none) + nearest(name, self.partitions))
        some = [self.partitions[name] for name in names]
        times = [limits.minutes for limits in some if limits.minutes is not None]
        return Limits(
            min(times, default=None),
            min(limits.cpus for limits in some),
            min(limits.mem_gb for limits in some),
            min(limits.gpus for limits in some),
        )


def discover() -> Site:
    """What this cluster offers; cluster.NoProgramError where there is none."""
    for command in ("sbatch", "srun", "scontrol"):
        if not shutil.which(command):
            raise cluster.NoProgramError(f"{command} {cluster.NOT_HERE}")
    partitions, default = parse_partitions(cluster.call("sinfo", "-h", "-o", "%P|%l|%c|%m|%G"))
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", cluster.call("scontrol", "show", "config"))
    return Site(partitions, default, int(match[1]) if match else 1001)


def hosts(partition: str | None) -> list[str]:
    """Host names of the nodes of a partition (None: of all)."""
    where = ["-p", partition] if partition else []
    return sorted(set(cluster.call("sinfo", "-h", "-N", "-o", "%n", *where).split()))


def unresolvable(names: Sequence[str]) -> list[str]:
    """Those of these host names that have no address here."""
    missing = []
    for name in names:
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            missing.append(name)
    return missing
