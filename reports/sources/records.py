"""Source `records`: the records in a runs folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ablations.sweep.manifest import Manifest
from lightning_module.cell import record
from reports.sources import Frames
from reports.sources._cache import runs_in_folder
from reports.sources._frames import ParsedRun, frames

CACHE = ".records.npz"


def load(where: str, manifest: Manifest | None) -> Frames:
    """Runs, histories and events of a runs folder; ConfigError if it is not a folder that one can read."""
    return frames(Path(where), runs_in_folder(where, manifest, CACHE, lambda f: [f / record.FILE], _parse))


def _parse(folder: Path) -> ParsedRun:
    told = record.read(folder)
    names = tuple(sorted({k for line in told.epochs for k, v in line.items() if isinstance(v, int | float)}))
    rows = np.array([[line.get(name, np.nan) for name in names] for line in told.epochs], dtype=np.float64)
    return ParsedRun(
        cell=told.cell,
        attempt=told.attempts[-1] if told.attempts else {},
        attempts=len(told.attempts),
        status=told.status,
        events=list(told.events),
        damage=told.damage.replace(f"{folder.parent}{os.sep}", ""),
        names=names,
        rows=rows.reshape(len(told.epochs), len(names)),
    )
