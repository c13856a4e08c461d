"""Collected cells without any file: what statistics on cells are tested with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from frames_schema import NUMBERS
from synthetic import make_cell

from ablations.study import Study
from ablations.sweep.manifest import Manifest
from reports.numbers.join import Collected, collect
from reports.sources import RUN_COLUMNS, Frames

METRICS = ("test/error", "train/error", "test_ten_crop/error")


def frames(cells: Iterable[tuple[Mapping[str, Any], str, float]]) -> Frames:
    """(a cell of a manifest, its state, its errors) -> what a source would find; of metrics, what all cells log."""
    rows = []
    for cell, state, error in cells:
        known = {
            "identity": cell["identity"],
            "state": state,
            "images_per_second": 1000 / error,
            "dirty": False,
        }
        blank = {column: 1.0 if column in NUMBERS else "" for column in RUN_COLUMNS} | {
            "epoch": 9,
            "seconds": 60.0,
        }
        rows.append(blank | known | dict.fromkeys(METRICS, error if state == "finished" else np.nan))
    history = pd.DataFrame(columns=["identity", "epoch", "step", "test/error"])
    return Frames(pd.DataFrame(rows, columns=[*RUN_COLUMNS, *METRICS]), history)


def collected(
    values: Mapping[tuple[int, str, int], float | str | None], study: Study | None = None
) -> Collected:
    """(depth, shortcut, seed) -> test error of a finished cell, the state of another, None: never started."""
    cells = {place: make_cell(*place) for place in values}
    factors = ("model.depth", "model.shortcut", "seed")
    manifest = Manifest("synthetic", None, (), factors, tuple(c.to_json() for c in cells.values()), (), "run")
    found = [
        (cells[place].to_json(), value, 1.0)
        if isinstance(value, str)
        else (cells[place].to_json(), "finished", value)
        for place, value in values.items()
        if value is not None
    ]
    return collect(manifest, study, frames(found))
