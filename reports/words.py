"""Every text that a person reads: what keys, levels and metrics are called, and how numbers are written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

from ablations.study import METRICS
from ablations.verdicts.statistics import Estimate
from ablations.words import key_text, level_name, setting
from lightning_module.support.errors import spelled

Item = TypeVar("Item")

HOUR = 3600
MILLION = 1e6
GIB = 2**30

HOLE = "–"
"""Stands where there is no value."""


def series(items: Iterable[Item]) -> list[Item | str]:
    """The items with what stands between them: a, ", ", b, " and ", c."""
    every = list(items)
    marks = [", "] * (len(every) - 2) + [" and "] * (len(every) > 1)
    return [part for item, mark in zip_longest(every, marks, fillvalue="") for part in (item, mark) if part]


def listed(texts: Iterable[str]) -> str:
    """ "a, b and c"; "" for none."""
    return "".join(series(texts))


def heading(keys: Iterable[str]) -> str:
    """Several keys, as the heading of their levels: "depth, learning rate"; "cell" for none."""
    return ", ".join(map(key_text, keys)) or "cell"


def level_text(level: Sequence[Any], keys: Sequence[str]) -> str:
    """One value per key, the first without its key: "56, learning rate 0.1"."""
    pairs = list(zip(keys, level, strict=True))
    return ", ".join([level_name(*pair) for pair in pairs[:1]] + [setting(*pair) for pair in pairs[1:]])


def settings_text(level: Sequence[Any], keys: Sequence[str]) -> str:
    """The same with every key that a reader needs: "depth 56, learning rate 0.1"."""
    return ", ".join(setting(*pair) for pair in zip(keys, level, strict=True))


def distinct_texts(
    levels: Iterable[tuple[Any, ...]],
    keys: Sequence[str],
    text: Callable[[Sequence[Any], Sequence[str]], str] = level_text,
) -> dict[tuple[Any, ...], str]:
    """Level -> its text, in which a further key stands only where it tells levels apart that begin alike.

    Levels that would have one name are called as they are typed.
    """
    alike: dict[Any, list[tuple[Any, ...]]] = {}
    texts = dict.fromkeys(levels, "")
    for level in texts:
        alike.setdefault(level[:1], []).append(level)
    for same in alike.values():
        kept = [i for i, values in enumerate(zip(*same, strict=True)) if i == 0 or len(set(values)) > 1]
        named = [keys[i] for i in kept]
        texts.update({level: text([level[i] for i in kept], named) for level in same})
    times = Counter(texts.values())
    return {
        level: name
        if times[name] == 1
        else ", ".join(f"{key}={spelled(value)}" for key, value in zip(keys, level, strict=True))
        for level, name in texts.items()
    }


def metric_text(metric: str) -> str:
    """A metric with its unit: "test error, %"; one that no study knows goes by its own name."""
    return METRICS.get(metric, metric.replace("/", " ").replace("_", " "))


def metric_name(metric: str) -> str:
    """A metric without its unit: "test error"."""
    return metric_text(metric).removesuffix(", %")


def unit(metric: str) -> str:
    """What stands behind a value of this metric: " %", or nothing."""
    return " %" if metric_text(metric).endswith(", %") else ""


def capital(text: str) -> str:
    """The text with a capital letter in front."""
    return text[:1].upper() + text[1:]


def number(value: float, decimals: int | None) -> str:
    """Fixed decimals, or a whole number in groups of three; a true minus sign; a hole for NaN."""
    if math.isnan(value):
        return HOLE
    text = f"{value:.{decimals}f}" if decimals is not None else f"{value:,.0f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")  # no "-0.00"
    return text.replace("-", "−")


def spread(e: Estimate, decimals: int) -> str:
    """Mean ± standard deviation; ‡ if more runs diverged, † if some are still to come, § if some departed from their
    recipe."""
    if e.n == 0:
        return f"diverged ×{e.diverged}" if e.diverged else HOLE
    text = number(e.mean, decimals)
    if e.n > 1:
        text += f" ± {number(e.sd, decimals)}"
    text += ("‡" if e.diverged else "") + ("†" if e.planned > e.n + e.diverged else "")
    return text + ("§" if e.departed else "")


def interval(e: Estimate, decimals: int) -> str:
    """[low, high], or a hole where there is no interval."""
    return HOLE if math.isnan(e.low) else f"[{number(e.low, decimals)}, {number(e.high, decimals)}]"


def time_unit(seconds: float) -> tuple[str, int]:
    """The largest unit of which this time holds two, and its length in seconds; "seconds" for NaN."""
    units = {"hours": HOUR, "minutes": 60}
    return next(((name, length) for name, length in units.items() if seconds >= 2 * length), ("seconds", 1))
