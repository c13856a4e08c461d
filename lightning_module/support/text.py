"""Text for a terminal: tables, numbers of things, and characters that nobody can see or that a terminal obeys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def visible(text: str) -> str:
    r"""The text on one line, every character of it seen: a line break is a space, an escape character is \x1b.

    Whatever wrote it (a record, W&B, a file name), it can move no cursor and is valid in UTF-8 and XML.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


def visible_lines(text: str) -> str:
    """The text with its line breaks, each line visible."""
    return "\n".join(map(visible, text.splitlines()))


def aligned(lines: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """The lines of a table with its columns under each other; right: columns that end at one edge."""
    shown = [[visible(text) for text in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    ragged = set(right)
    return [
        "  ".join(
            text.rjust(width) if index in ragged else text.ljust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in shown
    ]


def counted(number: int, what: str) -> str:
    """A number of things: "1 pair", "3 cells"."""
    return f"{number} {what}" + "s" * (number != 1)
