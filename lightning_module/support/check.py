"""Checks that the sections of a configuration share."""

from __future__ import annotations

from collections.abc import Sequence


def positive(section: object, prefix: str, *names: str, minimum: float = 1) -> None:
    """Raise ValueError for the first of these fields that is below the minimum."""
    for name in names:
        value = getattr(section, name)
        if value < minimum:
            raise ValueError(f"{prefix}.{name}={value} is not allowed; the smallest valid value is {minimum}")


def between(section: object, prefix: str, *names: str, minimum: float, maximum: float) -> None:
    """Raise ValueError for the first of these fields that is outside."""
    for name in names:
        value = getattr(section, name)
        if not minimum <= value <= maximum:
            raise ValueError(
                f"{prefix}.{name}={value} is not allowed; it lies between {minimum} and {maximum}"
            )


def interval(key: str, values: Sequence[float], minimum: float) -> None:
    """Raise ValueError unless the values are two, in order and at least the minimum."""
    if len(values) != 2 or not minimum <= values[0] <= values[1]:
        raise ValueError(f"{key}={list(values)} is not [smallest,largest], both at least {minimum}")


def three_channels(key: str, values: Sequence[float], minimum: float) -> None:
    """Raise ValueError unless there is one value for each of red, green and blue."""
    if len(values) != 3 or min(values) < minimum:
        raise ValueError(
            f"{key}={list(values)} is not three numbers, for red, green and blue, at least {minimum}"
        )
