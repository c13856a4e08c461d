"""Tables as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def aligned(lines: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """The lines of a table with its columns under each other; right: columns that end at one edge."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ragged = set(right)
    return [
        "  ".join(
            text.rjust(width) if index in ragged else text.ljust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
