"""Where the repository is, and a cell that trains in about a second."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("model.depth=8", "recipe.steps=30", "recipe.drops=[20]", "logger=none", "trainer.progress=false")

ISSUE = (
    *("data=digits", "recipe=quick", "recipe.steps=50", "recipe.drops=[25,40]", "recipe.batch_size=32"),
    *("model.depth=8", "model.width=4", "trainer.checkpoint_every=7", "trainer.steps_per_call=7"),
    *("trainer.threads=1", "logger=none"),
)
"""A cell of two epochs, of 46 and 4 steps, that is the same on any number of cores."""

forks = multiprocessing.get_context("forkserver")
"""Processes that need not import what this one has, which takes 6 s of a core, and that end without Python's own end,
during which a rank with threads of gloo has been seen to abort."""
forks.set_forkserver_preload(["lightning_module.train", "ablations.sweep.compose"])


def in_ranks(count: int, target: Callable[..., None], *arguments: object) -> None:
    """`target(rank, *arguments)` in so many processes at once, to their ends, all of which are good."""
    ranks = [forks.Process(target=target, args=(rank, *arguments)) for rank in range(count)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0] * count


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def heed_permissions() -> None:
    """In a child before exec: root, too, gets no further than the permissions of files allow."""
    if sys.platform == "linux" and os.geteuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
