"""The manifest of a sweep: which cells somebody asked for, written before any of them runs.

It lies in `RUNS/sweeps/<name>.json`. A report joins it with the records that exist, so that a cell which
never started is a hole in the table and not an absence nobody sees.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_module.support.disk import write_json
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
    expected_from: what the latest of them were planned from.
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


LONGEST = 80
"""Characters of a name."""


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
    """The manifest in a file; ConfigError if it is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return Manifest(**fields)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not a sweep manifest ({error}); run the sweep's command again"
        ) from error


def earlier(runs: Path, name: str) -> Manifest | None:
    """The manifest that this sweep left when it was asked for before."""
    try:
        return read(runs / "sweeps" / f"{name}.json")
    except ConfigError:
        return None


def newest_first(runs: Path) -> list[Path]:
    """Manifests of a runs folder, the one asked for last first."""
    return sorted((runs / "sweeps").glob("*.json"), key=lambda path: (-path.stat().st_mtime_ns, path.name))
