"""A thread beside the training of a rank: how long a call takes, and an end in time where one takes too long.

Between two looks at the interruption lies a call: some optimizer steps, an evaluation, a checkpoint. SLURM warns
`signal_seconds` before the time limit. A call that is longer misses the warning, and its job would end as TIMEOUT,
which nobody requeues. If it saved a checkpoint before, the rank leaves shortly before the limit, and the job goes on.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_module.cell.identity import Cell
from slurm import store
from slurm.store import Attempt

TICK = 1.0
"""Seconds between two looks at the training."""

LEAVES = 30.0
"""Seconds before the time limit at which a rank leaves: `slurm.after` needs them."""

LATE = 75
"""Exit code of a rank that leaves within a call."""


@dataclass
class Calls:
    """How long calls take. looks: at the interruption, so far. now: seconds of the call under way."""

    looks: int = 0
    now: float = 0.0
    longest: float = 0.0

    def tick(self, looks: int, seconds: float) -> None:
        """Some seconds have passed. What comes before the first look is the start; a suspended job makes no call."""
        self.now = self.now + min(seconds, 2 * TICK) if 0 < looks == self.looks else 0.0
        self.looks, self.longest = looks, max(self.longest, self.now)


class Watchdog:
    """`with Watchdog(...):` around the training, in the main thread, when the signals have their handlers.

    looks: how often training has looked at its interruption. warned: whether the warning came before. tells: whether
    it notes in the history how long calls take, as one rank of a cell does.
    """

    def __init__(
        self,
        looks: Callable[[], int],
        signal_seconds: float,
        run_folder: Path,
        attempt: Attempt,
        warned: bool,
        tells: bool,
    ) -> None:
        self._looks, self._seconds, self._run, self._attempt = looks, signal_seconds, run_folder, attempt
        self._tells, self._saved, self._calls = tells, store.saved(run_folder), Calls()
        self._warned = time.monotonic() if warned else None
        # Python runs a handler when the call returns; the C part of it writes here at once.
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watchdog:
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        self._over.set()
        self._thread.join()
        os.close(self._read)
        os.close(self._write)
        if self._tells and self._calls.longest:
            self._note()

    def _note(self) -> None:
        store.note(self._run, "call", self._attempt, seconds=round(self._calls.longest, 1))

    def _watch(self) -> None:
        before, told = time.monotonic(), False
        while not self._over.is_set():
            come = os.read(self._read, 100) if select.select([self._read], [], [], TICK)[0] else b""
            now = time.monotonic()
            if signal.SIGUSR2 in come and self._warned is None:
                self._warned = now
            self._calls.tick(self._looks(), now - before)
            before = now
            if self._tells and not told and self._calls.longest > self._seconds:
                told = True
                self._note()
                print(f"slurm: a call takes {too_long(self._calls.longest, self._seconds)}", flush=True)
            late = self._warned is not None and now > self._warned + self._seconds - margin(self._seconds)
            if late and store.saved(self._run) > self._saved:
                store.note(self._run, "late", self._attempt)
                print("slurm: a call did not end before the time limit; this rank leaves it", flush=True)
                os._exit(LATE)


def margin(signal_seconds: float) -> float:
    """Seconds before the time limit at which a rank leaves a call."""
    return min(LEAVES, signal_seconds / 2)


def too_long(seconds: float, signal_seconds: float) -> str:
    """The end of a sentence about a call that takes longer than the warning leaves."""
    return (
        f"{seconds:.0f} s, longer than hydra.launcher.signal_seconds={signal_seconds:g}, so it cannot save before the "
        f"time limit: raise signal_seconds above {seconds + margin(signal_seconds):.0f}"
    )


def warnings(cells: Sequence[Cell], runs: Path, signal_seconds: float) -> list[str]:
    """A sentence for each cell whose calls were longer, in earlier jobs, than the warning leaves."""
    longest = {
        cell.name: max((line["seconds"] for line in lines if line["event"] == "call"), default=0.0)
        for cell in cells
        if (lines := store.history(runs / cell.identity))
    }
    return [
        f"  {name}: a call took {too_long(seconds, signal_seconds)}"
        for name, seconds in longest.items()
        if seconds > signal_seconds
    ]
