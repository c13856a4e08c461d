"""What a job leaves that could not say in the record how it ended: a file in the folder of its array.

RUNS/slurm/<array>/no-start-<element>    written by its batch script, with an exit code: Python could not start
RUNS/slurm/<array>/no-space-<element>    an empty one, for which a full disk has room: see slurm.after
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from slurm import store
from slurm.verdict import no_space, set_up_failed

FILES = NO_START, NO_SPACE = "no-start-", "no-space-"


def why(runs: Path, array: store.Array, index: int) -> str:
    """Why a cell has no result, from such a file of its job; "" if there is none."""
    folder, (element, _) = runs / store.FOLDER / array.name, array.element(index)
    if (folder / f"{NO_SPACE}{element}").exists():
        return no_space(runs)
    with contextlib.suppress(OSError):
        code = (folder / f"{NO_START}{element}").read_text(encoding="utf-8", errors="replace").strip()
        log = store.log_file(runs, array, array.members(element)[0])
        return set_up_failed(code, store.end_of(log), log)
    return ""
