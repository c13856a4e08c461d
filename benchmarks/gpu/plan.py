"""What is done in a limited time on a machine that is lent: parts that cannot harm each other.

A part is a process of its own with a limit. What it prints is in the file results.md of the folder `out` at once, what
it says on standard error in log.txt. Needs nothing but Python.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LEAST = 5
"""Seconds below which a part is not worth its start."""
TICK = 20
"""Seconds between two looks at a part."""


class Plan:
    """seconds: for everything, from now on."""

    def __init__(self, out: Path, seconds: float) -> None:
        self.began, self.seconds, self.out = time.monotonic(), seconds, out
        out.mkdir(parents=True, exist_ok=True)
        self.results, self.log = out / "results.md", out / "log.txt"
        self._shown = self.results.stat().st_size if self.results.exists() else 0

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds to the end."""
        return self.seconds - self.now

    def say(self, text: str) -> None:
        """Add a line to the results."""
        with self.results.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        self._show()

    def part(
        self,
        name: str,
        *command: str,
        limit: float | None = None,
        keep: float = 0,
        to_save: int = 3,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> bool:
        """Run a command to its end or to its limit; False if it did not end well.

        keep: seconds to leave for what follows. to_save: seconds that it has after SIGTERM.
        meanwhile: is called now and then, and after the end.
        """
        room = self.left - keep - to_save
        limit = room if limit is None else min(limit, room)
        if limit < LEAST:
            self.say(f"\n## {name}: no time")
            return False
        self.say(f"\n## {name} (at {self.now:.0f} s, at most {limit:.0f} s)\n")
        end = ("timeout", "-s", "TERM", "-k", str(to_save), f"{limit:.0f}")
        with self.results.open("ab") as words, self.log.open("ab") as errors:
            errors.write(f"\n== {name}: {' '.join(command)}\n".encode())
            errors.flush()
            before = errors.tell()
            process = subprocess.Popen(
                [*end, *command], stdin=subprocess.DEVNULL, stdout=words, stderr=errors
            )
            try:
                while not _ended(process):
                    self._show()
                    meanwhile()
            finally:
                if process.poll() is None:  # this program was told to stop; `timeout` tells the part
                    process.terminate()
                    process.wait()
                meanwhile()
        self._show()
        if process.returncode:
            said = self.log.read_bytes()[before:].decode("utf-8", "replace").strip().splitlines()
            reason = "its time was over" if process.returncode in (124, 137) else f"exit {process.returncode}"
            self.say(f"\n{name} did not end by itself: {reason}. {said[-1] if said else ''}")
        self.say(f"\n<!-- {name} ended at {self.now:.0f} s -->")
        return process.returncode == 0

    def quietly(self, *command: str, limit: float = 60) -> str:
        """What a short command prints, its errors in the log; "" if it fails, is not there or takes too long."""
        # Not a pipe: a daemon that the command leaves behind would hold it open.
        with self.log.open("ab") as errors, tempfile.TemporaryFile() as words:
            try:
                subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=words, stderr=errors, timeout=limit, check=True
                )
            except (OSError, subprocess.SubprocessError) as error:
                errors.write(f"{error}\n".encode())
                return ""
            words.seek(0)
            return words.read().decode("utf-8", "replace").strip() or "done"

    def _show(self) -> None:
        """Print what is new in the results."""
        with self.results.open("rb") as file:
            file.seek(self._shown)
            new = file.read()
        self._shown += len(new)
        sys.stdout.write(new.decode("utf-8", "replace"))
        sys.stdout.flush()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(TICK)
    except subprocess.TimeoutExpired:
        return False
    return True
