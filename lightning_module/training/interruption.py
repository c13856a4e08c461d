"""The one owner of signals while a cell trains: a signal sets a flag, the training loop looks at it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from types import FrameType


class Interruption:
    """Asked to stop? Training then saves a checkpoint and leaves; the run can be resumed at that step.

    A handler does no I/O and no communication: ranks agree about the flag between optimizer steps.
    A second Ctrl-C ends the program at once, like SIGKILL, from which every run recovers: an exception would be
    caught by libraries, and would look like a fault of the cell. `received` is the first signal.
    """

    def __init__(
        self, signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ) -> None:
        self.signals = signals
        self.received: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.received is not None

    def install(self) -> None:
        """Handle the signals from now on, but SIGHUP not below nohup, which ignores it.

        Outside the main thread, where Python cannot, nothing happens.
        """
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            os._exit(128 + number)
        self.received = self.received or signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """128 + the signal that was received; 0 without one."""
        return 128 + self.received if self.received else 0


SET_PARENT_DEATH_SIGNAL = 1
"""Of prctl(2)."""


def leave_with_parent(parent: int) -> None:
    """Get SIGTERM when the process that started this one ends, however it ends; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:  # the parent ended before we watched it
            raise SystemExit(1)
