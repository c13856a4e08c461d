"""Which variables of the shell that submits count, and what is said of them. Pure.

A site's profile sets SBATCH_ACCOUNT and its like for good reasons: they stand in for keys that say nothing. SLURM
would obey all of them, against what is asked for: a job of another name is lost, one of another limit ends too soon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from slurm.options import MANAGED, Options

PREFIX = "SBATCH_"

KEYS = ("account", "constraint", "partition", "qos", "wckey")
"""Keys of `hydra.launcher` that the variable of the same name stands in for."""

MORE = ("export", "reservation")
"""The same of options of sbatch that have no key."""

OPTIONS = {
    "array_inx": "array",
    "mem_per_node": "mem",
    "timelimit": "time",
}
"""Variables that are named otherwise than the option of sbatch that they stand for."""


def with_shell(options: Options, variables: Mapping[str, str]) -> tuple[Options, list[str]]:
    """(options with what the shell says where they say nothing, a sentence for each variable of sbatch)."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in sorted(variables.items())
        if name.startswith(PREFIX) and value
    }
    counted: dict[str, str] = {}
    more: list[str] = []
    said = []
    for name, value in given.items():
        variable = f"{PREFIX}{name.upper()}={value} of your shell"
        option = OPTIONS.get(name, name).replace("_", "-")
        own = getattr(options, name) if name in KEYS else options.more_sbatch.get(name)
        if own == value:
            continue  # a sweep that is tried again has taken it up
        if name in KEYS + MORE and own is None:
            counted |= {name: value} if name in KEYS else {}
            more += [f"{name}={value}"] if name in MORE else []
            said.append(f"{variable} counts: hydra.launcher says nothing of {name}")
        elif own is not None:
            said.append(f"{variable} does not count: hydra.launcher says {name}={own}")
        elif option in MANAGED:
            key = MANAGED[option]
            see = f"; see hydra.launcher.{key}" if hasattr(options, key) else ""
            said.append(f"{variable} does not count: the launcher sets {option} itself{see}")
        else:
            said.append(f"{variable} does not count: hydra.launcher.sbatch has other options of sbatch")
    return replace(options, **counted, sbatch=(*options.sbatch, *more)), said  # type: ignore[arg-type]  # texts all
