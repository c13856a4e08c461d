"""Collected cells without any file: what statistics on cells are tested with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from synthetic import make_cell

from ablations.manifest import Manifest
from ablations.study import Study
from reports.collect import Collected, collect
from reports.sources import RUN_COLUMNS, Frames


def collected(
    values: Mapping[tuple[int, str, int], float | str | None], study: Study | None = None
) -> Collected:
    """(depth, shortcut, seed) -> test error of a finished cell, the state of another, None: never started."""
    cells = {place: make_cell(*place) for place in values}
    factors = ("model.depth", "model.shortcut", "seed")
    manifest = Manifest("synthetic", None, (), factors, tuple(c.to_json() for c in cells.values()), (), "run")
    rows = []
    for place, value in values.items():
        if value is None:
            continue
        blank = dict.fromkeys(RUN_COLUMNS, "") | {"attempts": 1, "epoch": 9, "step": 9, "seconds": 60.0}
        state = value if isinstance(value, str) else "finished"
        known = {"identity": cells[place].identity, "state": state, "images_per_second": 1.0, "dirty": False}
        error = value if isinstance(value, float | int) else np.nan
        rows.append(blank | known | {"test/error": error, "train/error": error})
    columns = [*RUN_COLUMNS, "test/error", "train/error"]
    history = pd.DataFrame(columns=["identity", "epoch", "step", "test/error"])
    return collect(manifest, study, Frames(pd.DataFrame(rows, columns=columns), history))
