"""How what was run differs from the study, and compared cells from each other in more than they should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ablations.study import related
from ablations.sweep.manifest import Manifest
from ablations.words import value_text
from lightning_module.cell.identity import CONTENT, OF_CONTENT, PATHS
from reports.numbers.join import Collected, varies


def departed(manifest: Manifest) -> list[str]:
    """What of a sweep is not its study's own, by first part: ["data", "recipe"]; other seeds are no departure."""
    keys = (str(item["key"]).partition(".")[0] for item in manifest.departures)
    return [key for key in dict.fromkeys(keys) if key != "seed"]


def changes(c: Collected) -> list[tuple[str, str]]:
    """How what was run is not the study's own, key by key: ("data.name", "digits instead of cifar10").

    From the resolved configurations, not from what was typed, whose effect may be none or a different one.
    Names come first, then the recipe: they say most.
    """

    def values(levels: Sequence[Any]) -> str:
        return ", ".join(map(value_text, levels))

    said = {d["key"]: f"{values(d['here'])} instead of {values(d['study'])}" for d in c.manifest.departures}
    keys = sorted(said, key=lambda key: (not key.endswith(".name"), not key.startswith("recipe.")))
    return [(key, said[key]) for key in keys if key != "seed"]


def lost_study(manifest: Manifest) -> str:
    """What is said of a sweep whose study is not to be found any more."""
    return (
        f"Study {manifest.study} is not in {manifest.studies or 'ablations/'} any more: sweep {manifest.name} is "
        "reported without its question and claims; name its folder with --studies"
    )


def more_seeds(c: Collected) -> list[int]:
    """Seeds that are not the study's: more of the same, no other protocol."""
    own = c.study.levels("seed") if c.study else ()
    here = (departure["here"] for departure in c.manifest.departures if departure["key"] == "seed")
    return [seed for seeds in here for seed in seeds if seed not in own]


def confounds(c: Collected) -> list[tuple[str, Any, list[str]]]:
    """Keys outside the studied factors in which compared cells differ: (key, a value of it, who has it)."""
    studied = {"seed", *c.studied}
    if studied.intersection((CONTENT, *PATHS)):
        studied.update((CONTENT, *OF_CONTENT))
    differing = []
    for key in sorted(key for key in c.cells.columns if "." in key and not related(key, studied)):
        if varies(c.cells, key):
            levels: dict[Any, list[str]] = {}
            for value, row, column in zip(c.cells[key], c.cells["row"], c.cells["column"], strict=True):
                place = c.place(row, column)
                levels.setdefault(value, []).append(place.text if place else "")
            for value, alike in levels.items():
                differing.append((key, value, list(dict.fromkeys(alike))))
    return differing
