"""Where results come from: every source gives the same two frames, so that every report is the same.

A source is a module of this folder with `def load(where: str, manifest: Manifest | None) -> Frames`, and a line
in `load` below. `--source KIND[:WHERE]`: `where` is what follows the colon, or the runs folder when nothing does.
With a manifest only the runs of its cells are loaded (a run that does not exist is simply not there: the left
join in `reports.numbers.join` makes the hole); without one, all runs.
Raises ConfigError in one sentence when the place cannot be read at all; a run that cannot be read is a row
with state "damaged" and the reason.

runs: one row per run, sorted by identity, columns RUN_COLUMNS, then the flat configuration, then metrics.
    A configuration column has a dot in its name or is "seed" (`model.depth`, `recipe.milestones`, `seed`):
    object dtype, plain Python values as in `cell.identity.canonical`, sequences as tuples, absent as None.
    A metric column has a slash in its name (`test/error`): float64, value of the last epoch, NaN if absent.
history: one row per run and epoch, sorted by identity and epoch, columns HISTORY_COLUMNS, then every number
    that the run logged per epoch under its own name (`test/error`, `learning_rate`, `seconds`): float64, NaN
    if absent. Epochs that a resumed attempt ran again appear once, as the last attempt left them.
events: identity -> other things logged: {"event": "layer_responses", "responses": [[name, std], ...]}; which test
    images a run got right is read by `reports.numbers.images`.
declared: the sweeps that its runs carry, newest first; none of records, whose manifests lie beside them.
foreign: how many runs were found there that are not ours, and left alone.
duplicates: identity -> addresses of further runs of the cell on W&B, which do not count.
summaries: identity -> what a summary on W&B says otherwise than the last row of its own history, for audits.

Errors are in percent, times in seconds, steps are optimizer steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ablations.sweep.manifest import Manifest
from lightning_module.support.errors import ConfigError
from reports.sources._sweeps import Declared

RUN_COLUMNS = {
    "identity": "name of the run folder and of the W&B run",
    "name": 'for people: "ResNet-110 B seed 3"',
    "state": "running, killed, finished, diverged, failed, damaged (lightning_module.cell.record.State)",
    "reason": 'why it is in that state, one sentence; "" if there is nothing to say',
    "attempts": "how often it was started",
    "epoch": "last complete epoch, 0 before the first",
    "step": "optimizer steps done",
    "seconds": "of training and evaluation together: the sum over the epochs in history",
    "images_per_second": "training throughput, the median over epochs; NaN if not logged",
    "parameters": "of the network",
    "multiply_adds": "of one forward pass of one image",
    "commit": "of the code at the last attempt",
    "dirty": "whether the working tree had changes at the last attempt",
    "versions": 'packages at the last attempt, sorted: "python 3.11.7, torch 2.13.0"',
    "hardware": "at the last attempt, one line",
    "images": 'checksum of the images at the last attempt: "cifar10 47cbc0bf"; "" if it is not known',
    "devices": "that the last attempt ran on, a process each",
    "job": 'scheduler job of the last attempt, "" if none',
    "url": 'address of the run on W&B, "" if none',
    "checksum": "first 12 hexadecimal digits of a SHA-256 over what the source holds of this run",
}
"""Columns that every runs frame starts with, in this order, and what they mean."""

HISTORY_COLUMNS = ("identity", "epoch", "step")
"""Columns that every history frame starts with; `identity` may be categorical."""


@dataclass(frozen=True)
class Frames:
    """What a source found, in the schema above."""

    runs: pd.DataFrame
    history: pd.DataFrame
    events: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    summaries: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    declared: Sequence[Declared] = ()
    foreign: int = 0
    duplicates: Mapping[str, Sequence[str]] = field(default_factory=dict)


def is_config(column: str) -> bool:
    """Whether a column of the runs frame is a configuration key."""
    return column == "seed" or "." in column


def is_metric(column: str) -> bool:
    """Whether a column of the runs frame is a metric of the last epoch."""
    return "/" in column


def load(source: str, runs: Path, manifest: Manifest | None) -> Frames:
    """Frames of a source as typed (`records`, `wandb:ENTITY/PROJECT`); ConfigError for another kind."""
    from reports.sources import records, wandb_api, wandb_offline

    kinds = {"records": records.load, "wandb": wandb_api.load, "wandb-offline": wandb_offline.load}
    kind, _, where = source.partition(":")
    if kind not in kinds:
        raise ConfigError(f"source={source} does not exist; choose one of {', '.join(kinds)}")
    return kinds[kind](where or str(runs), manifest)


def declared(source: str, runs: Path) -> Sequence[Declared]:
    """The sweeps that the runs of a source carry, without reading their histories from a server."""
    from reports.sources import wandb_api

    kind, _, where = source.partition(":")
    if kind == "wandb":
        return wandb_api.sweeps(where)
    return () if kind == "records" else load(source, runs, None).declared
