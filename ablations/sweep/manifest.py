"""The manifest of a sweep: which cells somebody asked for, written before any of them runs.

It lies in `RUNS/sweeps/<name>.json`. A report joins it with the records that exist, so that a cell which
never started is a hole in the table and not an absence nobody sees.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_module.cell.identity import digest
from lightning_module.support.disk import read_file, write_json
from lightning_module.support.errors import ConfigError


@dataclass(frozen=True)
class Manifest:
    """What one sweep asked for.

    name: of the sweep and of its report folder. study: name of its study or None. overrides: what was
    typed besides the study's name. cells: `Cell.to_json()` of each. excluded: {"overrides", "reason"} of
    each impossible combination. factors: configuration keys in which the cells differ or that the study
    names, the first one being the rows of the main table. command: runs what is left of it. narrowed: what
    was typed that took a part of the study's cells. departures: {"key", "study", "here"} of each key in which
    a cell is not the study's own: the values that the study has there, and those that stand there instead.
    expected: device-hours of each cell (identity -> hours) as they were planned before it first ran.
    expected_from: what the latest of them were planned from. rounds: what was decided so that claims are settled, the
    latest last (`Round.to_json` of ablations.sweep.rounds). studies: place of the study; "" of ours.
    """

    name: str
    study: str | None
    overrides: tuple[str, ...]
    factors: tuple[str, ...]
    cells: tuple[dict[str, Any], ...]
    excluded: tuple[dict[str, Any], ...]
    command: str
    narrowed: tuple[str, ...] = ()
    departures: tuple[dict[str, Any], ...] = ()
    expected: Mapping[str, float] = field(default_factory=dict)
    expected_from: str = ""
    rounds: tuple[dict[str, Any], ...] = ()
    studies: str = ""


LONGEST = 80
"""Characters of a name."""

NAME = re.compile(r"(?!index\.)[\w+-][\w.+-]*")
"""A name that is a folder of its own on every file system, beside the index of reports."""

KEY = re.compile(r"seed|mode|[\w-]+(\.[\w-]+)+")
"""A key of a configuration, as `canonical` has it."""

NOT_ONE = "{path} is not a sweep manifest ({why}); run the sweep's command again, or move the file away"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e100  # not NaN, and a float holds it


def _is_value(value: Any) -> bool:
    return value is None or type(value) in (bool, str) or _is_number(value)


KINDS: Mapping[str, Callable[[Any], bool]] = {
    "a text": lambda value: isinstance(value, str),
    "a text or null": lambda value: value is None or isinstance(value, str),
    "a number": _is_number,
    "a number or null": lambda value: value is None or _is_number(value),
    "a value of a configuration": lambda value: (
        all(map(_is_value, value)) if isinstance(value, list) else _is_value(value)
    ),
}
TEXTS, VALUES = ["a text"], ["a value of a configuration"]
CELL = {
    **dict.fromkeys(("identity", "name"), "a text"),
    "overrides": TEXTS,
    "config": {"seed": "a number", "recipe.drops": ["a number"], "": VALUES[0]},
    **dict.fromkeys(("parameters", "multiply_adds"), "a number"),
    "": None,
}
ROUND = {
    "number": "a number",
    "cells": TEXTS,
    "claims": [
        {
            **dict.fromkeys(("claim", "word", "state", "said"), "a text"),
            **dict.fromkeys(("pairs", "chance", "hours"), "a number"),
        }
    ],
    **dict.fromkeys(("expected", "used", "whole"), "a number"),
    "budget": "a number or null",
    "end": "a text",
}
SHAPE = {
    **dict.fromkeys(("name", "command", "expected_from", "studies"), "a text"),
    "study": "a text or null",
    **dict.fromkeys(("overrides", "factors", "narrowed"), TEXTS),
    "cells": [CELL],
    "excluded": [{"overrides": TEXTS, "reason": "a text"}],
    "departures": [{"key": "a text", "study": VALUES, "here": VALUES}],
    "expected": {"": "a number"},
    "rounds": [ROUND],
}
"""What a manifest holds."""

OPTIONAL = ("", "narrowed", "departures", "expected", "expected_from", "rounds", "studies", "recipe.drops")
"""Keys that need not be there."""


def slug(overrides: Sequence[str]) -> str:
    """Overrides -> a folder name: ["model.depth=20,56"] -> "depth_20_56"; the group prefix goes.

    What the name cannot tell apart, because it is cut or because lists are joined, a hash at its end does.
    """
    parts = [re.sub(r"^[\w/@]*\.", "", text) for text in overrides]
    name = re.sub(r"[^A-Za-z0-9.+-]+", "_", "-".join(parts)).strip("_") or "defaults"
    if len(name) <= LONGEST and not any("[" in part for part in parts):
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(' '.join(overrides).encode()).hexdigest()[:8]}"


def write(runs: Path, manifest: Manifest) -> Path:
    """Write atomically; the same sweep asked for again replaces its manifest."""
    folder = runs / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{manifest.name}.json"
    write_json(path, vars(manifest))
    return path


def read(path: Path) -> Manifest:
    """The manifest in a file that has its name; ConfigError if it is not one."""
    try:
        data = json.loads(read_file(path), parse_constant=_no_number)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(NOT_ONE.format(path=path, why=f"it is no JSON: {error}")) from error
    try:
        manifest = parse(data)
    except ValueError as error:
        raise ConfigError(NOT_ONE.format(path=path, why=error)) from error
    if manifest.name != path.stem:
        raise ConfigError(
            f"{path} holds the manifest of sweep {manifest.name[:LONGEST]!r}, and a manifest has the name of its "
            "sweep; move it away, or run the sweep's command again"
        )
    if not NAME.fullmatch(path.stem):
        raise ConfigError(
            f"{path} is no name of a sweep: it has letters, digits and _ . + - alone, and does not begin with a dot; "
            "move it away"
        )
    return manifest


def parse(data: Any) -> Manifest:
    """The manifest that `write` made this plain data of; ValueError says why if it is none."""
    if why := _wrong(data, SHAPE, "") or _foreign(data["cells"]):
        raise ValueError(why)
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    return Manifest(**fields)


def _foreign(cells: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with the identities of cells, "" if nothing is."""
    for index, cell in enumerate(cells):
        if digest(cell["config"]) != cell["identity"]:
            return f"the identity of its cells[{index}] is not that of its configuration"
        if not all(map(KEY.fullmatch, cell["config"])):
            return f"its cells[{index}].config has a key that no configuration has"
    if len({cell["identity"] for cell in cells}) < len(cells):
        return "a cell stands in it twice"
    return "" if cells else "it has no cells"


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _wrong(value: Any, shape: Any, where: str) -> str:
    """What is wrong with a value of a manifest, "" if nothing is.

    shape: {key: shape} of a mapping, with "" for all its other keys; [shape] of the items of a list; a text, a kind
    of value; None, whatever it is.
    """
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return f"{where or 'it'} is not a mapping"
        missing = [key for key in shape if key not in value and key not in OPTIONAL]
        foreign = [key for key in value if key not in shape and "" not in shape]
        if missing or foreign:
            told = (
                f"has no {missing[0]}"
                if missing
                else f"has an unknown key, {json.dumps(foreign[0])[:LONGEST]}"
            )
            return f"{where or 'it'} {told}"
        parts = [
            (value[key], shape.get(key, shape.get("")), f"{where}.{key}" if where else f"its {key}")
            for key in value
        ]
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is not a list"
        parts = [(item, shape[0], f"{where}[{index}]") for index, item in enumerate(value)]
    else:
        fits = shape is None or KINDS[shape](value)
        return "" if fits else f"{where} is {json.dumps(value)[:LONGEST]}, not {shape}"
    return next(filter(None, (_wrong(*part) for part in parts)), "")


def earlier(runs: Path, name: str) -> Manifest | None:
    """The manifest that this sweep left when it was asked for before."""
    try:
        return read(runs / "sweeps" / f"{name}.json")
    except ConfigError:
        return None


def newest_first(runs: Path) -> list[Path]:
    """Manifests of a runs folder, the one asked for last first."""
    return sorted((runs / "sweeps").glob("*.json"), key=lambda path: (-time_of(path), path.name))


def time_of(path: Path) -> int:
    """When a manifest was written, in nanoseconds since 1970."""
    try:
        return path.stat().st_mtime_ns
    except OSError:  # a link to nowhere, or it was deleted just now; reading it will say so
        return 0
