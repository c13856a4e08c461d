"""Waits for somebody else: never longer than said, and said when they last."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from lightning_module.support.errors import log

T = TypeVar("T")

QUIET_SECONDS = 3.0
"""A wait that is shorter is not worth a word."""


@contextlib.contextmanager
def said(what: str, at_most: float, after: float = QUIET_SECONDS) -> Iterator[None]:
    """Around a wait of at most so many seconds: tells the user, after some, for what it is."""
    timer = threading.Timer(after, log.warning, ("waiting for %s, at most %.0f s", what, at_most))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call gives, or raises; TimeoutError after so many seconds, when it is left to itself.

    For what takes its time in places that have no limit of their own: the look-up of a name, a slow trickle.
    """
    done: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((call(), None))
        except Exception as error:
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} s") from None
    if error:
        raise error
    return result  # type: ignore[return-value]
