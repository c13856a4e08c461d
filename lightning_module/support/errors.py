"""Bad input, said in one sentence; and the one way to warn."""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Iterable

log = logging.getLogger("residual_ablations")
"""`log.warning` reaches the user of every program of ours: see program.py."""


class ConfigError(ValueError):
    """Bad input. Its text is one sentence: key, value, what is allowed, the nearest valid choice."""


def nearest(value: object, allowed: Iterable[object]) -> str:
    """The tail of an error sentence: what is allowed and, when one is close, which was probably meant."""
    names = [str(item) for item in allowed]
    close = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    return f"allowed are {', '.join(names)}" + (f"; did you mean {close[0]}?" if close else "")


def one_line(error: BaseException) -> str:
    """The text of an error without its line breaks; its kind if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def tell(error: Exception) -> int:
    """Say an error in one line on stderr; the exit code that belongs to it."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    return 2
