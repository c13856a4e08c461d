"""How what was run differs from the study, and compared cells from each other in more than they should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.numbers.join import Collected, Level, value_text


def related(key: str, keys: Iterable[str]) -> bool:
    """Whether a key is one of these, below one (model.depth, model) or above one."""
    return any(key == other or key.startswith(other + ".") or other.startswith(key + ".") for other in keys)


def changes(c: Collected) -> list[str]:
    """How what was run is not the study's own, key by key: "`data.name` digits instead of cifar10".

    From the resolved configurations, not from what was typed, whose effect may be none or a different one.
    Names come first, then the recipe: they say most.
    """

    def values(levels: Sequence[Any]) -> str:
        return ", ".join(value_text(tuple(v) if isinstance(v, list) else v) for v in levels)

    def rank(departure: Mapping[str, Any]) -> tuple[bool, bool]:
        key = departure["key"]
        return not key.endswith(".name"), not key.startswith("recipe.")

    departures = sorted(c.manifest.departures, key=rank)
    return [
        f"`{departure['key']}` {values(departure['here'])} instead of {values(departure['study'])}"
        for departure in departures
        if departure["key"] != "seed"
    ]


def more_seeds(c: Collected) -> list[int]:
    """Seeds that are not the study's: more of the same, no other protocol."""
    own = c.study.levels("seed") if c.study else ()
    here = (departure["here"] for departure in c.manifest.departures if departure["key"] == "seed")
    return [seed for seeds in here for seed in seeds if seed not in own]


def narrowed(c: Collected) -> list[str]:
    """Overrides that took a part of the study's cells."""
    return [f"`{text}`" for text in c.manifest.narrowed]


def confounds(collected: Collected) -> list[tuple[str, dict[Any, list[Level]]]]:
    """Keys outside the studied factors in which compared cells differ -> value -> places that have it."""
    cells, studied = collected.cells, {"seed", *collected.studied}
    found = []
    for key in sorted(key for key in cells.columns if "." in key and not related(key, studied)):
        if cells[key].map(repr).nunique() > 1:
            places: dict[Any, list[Level]] = {}
            for value, row, column in zip(cells[key], cells["row"], cells["column"], strict=True):
                place = row + column
                if place not in places.setdefault(value, []):
                    places[value].append(place)
            found.append((key, places))
    return found
