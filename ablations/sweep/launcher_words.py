"""SLURM's own words (node[3-4], a,b, 1e3) for keys of `hydra.launcher`: Hydra would read lists, sweeps and numbers."""

from __future__ import annotations

from hydra.core.override_parser.types import Quote, QuotedString

from ablations.sweep.overrides import parse
from lightning_module.support.errors import ConfigError

TEXTS = ("account", "constraint", "exclude", "gpus_per_node", "mem", "partition", "qos", "time", "wckey")
"""Keys whose value goes to SLURM as it is."""


def quoted(word: str) -> str:
    """The override, with its value in quotes where it is SLURM's own and Hydra would not read it as one text."""
    key, _, value = word.partition("=")
    if key not in [f"hydra.launcher.{text}" for text in TEXTS]:
        return word
    if not value or not value.isprintable() or set(value) & set("\"'$"):
        return word
    try:
        read = parse(word)
        # 12_3 would become 123, 1e3 a fraction
        if not read.is_sweep_override() and isinstance(read.value(), str | None):
            return word
    except ConfigError:
        pass
    return f"{key}={QuotedString(value, Quote.double).with_quotes()}"
