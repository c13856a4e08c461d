"""wandb in a process of its own: nothing it does can hold up or harm a cell, for it is asked, waited for, killed."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_module.tracking.patience import said

CHILD = Path(__file__).with_name("wandb_child.py")
IMPORT_TIMEOUT = 60.0
"""Seconds until wandb is imported, on the slow file system of a cluster."""
SEND_TIMEOUT = 5.0
"""Seconds until it takes what is sent to it; usually it does so at once."""

KINDS: Mapping[str, type[Exception]] = {"value": ValueError, "import": ImportError}
"""Faults that are neither the server's nor wandb's."""


class Process:
    """A process that runs wandb, with these environment variables. Every method takes bounded time.

    What it cannot do raises RuntimeError with wandb's words (ValueError for a setting or variable that it does not
    take, ImportError without wandb), what takes too long TimeoutError.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.busy = False
        """Whether a run is open: there is one at a time."""
        self._rest = b""
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), str(theirs.fileno()), str(os.getpid())],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # out of the reach of Ctrl-C
            )
        atexit.register(self.stop)
        try:
            with said("the import of wandb", IMPORT_TIMEOUT, after=10.0):
                self._answer(IMPORT_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def send(self, do: str, **content: Any) -> None:
        """Have something done that has no answer; what goes wrong there, the next `ask` raises."""
        self._socket.settimeout(SEND_TIMEOUT)
        try:
            self._socket.sendall(json.dumps({"do": do, **content}).encode() + b"\n")
        except TimeoutError:
            raise TimeoutError("wandb takes nothing any more") from None
        except OSError:
            self._answer(SEND_TIMEOUT)  # raises what it said before it died

    def ask(self, timeout: float, do: str, **content: Any) -> dict[str, Any]:
        """Have something done, and wait for its answer."""
        self.send(do, **content)
        return self._answer(timeout)

    def _answer(self, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                part = self._socket.recv(1 << 16)
            except TimeoutError:
                raise TimeoutError(f"wandb did not answer within {timeout:.0f} s") from None
            except OSError:
                part = b""
            if not part:
                raise RuntimeError("the process of wandb has died")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise KINDS.get(answer["kind"], RuntimeError)(answer["error"])
        return answer

    def stop(self) -> None:
        """End it, now; what it has not written or sent by then is lost."""
        atexit.unregister(self.stop)
        self._process.kill()
        self._process.wait()
        self._socket.close()


_idle: Process | None = None


def process(environment: Mapping[str, str]) -> Process:
    """The process with this environment: the one of the run before, unless something is wrong with it."""
    global _idle
    if _idle and (_idle.busy or not _idle.alive or _idle.environment != dict(environment)):
        _idle.stop()
        _idle = None
    _idle = _idle or Process(environment)
    return _idle
