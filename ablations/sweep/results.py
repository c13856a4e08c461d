"""The cells of a manifest with what came of them, as claims are judged by."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ablations.study import Study
from ablations.sweep.manifest import Manifest
from ablations.verdicts.results import Result, frozen
from lightning_module.cell.identity import CONTENT, PATHS, whole
from lightning_module.cell.record import Record


def results(manifest: Manifest, study: Study | None, records: Mapping[str, Record]) -> list[Result]:
    """The cells of a manifest with their records, by identity."""
    levels = levels_of(manifest, study)
    nothing = Record(Path(), {})
    known = [records.get(cell["identity"], nothing) for cell in manifest.cells]
    return [
        Result(cell["identity"], level, record.state, _metrics(record), record.events)
        for cell, level, record in zip(manifest.cells, levels, known, strict=True)
    ]


def _metrics(record: Record) -> dict[str, float]:
    """Of the last epoch; the speed is the median of all."""
    speeds = [epoch["images_per_second"] for epoch in record.epochs if "images_per_second" in epoch]
    return {**record.last, **({"images_per_second": statistics.median(speeds)} if speeds else {})}


def factors(manifest: Manifest, study: Study | None) -> tuple[str, ...]:
    """Keys and groups that may tell cells apart, the rows of the tables first: what a study declares and what was
    typed, or what the cells of a sweep differ in.

    What was typed belongs to a study's own: recipe.learning_rate=0.03,0.1 makes two rows of each, never a mean.
    """
    if study is None:
        return tuple(dict.fromkeys(manifest.factors))
    typed = (text.partition("=")[0] for text in manifest.overrides)
    named = [key for key in (study.rows, study.columns) if key]
    return tuple(dict.fromkeys([*named, *study.factors, *typed]))


def levels_of(manifest: Manifest, study: Study | None) -> list[dict[str, Any]]:
    """The levels of each cell of a manifest: its flat configuration and, of a study, the groups that it chose.

    Of a study of several data of one's own, their paths too.
    """
    groups = [key for key in factors(manifest, study) if "." not in key and key != "seed"] if study else []
    groups += [key for key in PATHS if study and key in study.factors]
    named = _named_data(manifest)
    return [
        frozen(whole(cell["config"])) | named.get(cell["identity"], {}) | _chosen(cell["overrides"], groups)
        for cell in manifest.cells
    ]


def own_data(overrides: Sequence[str]) -> str | None:
    """What people call the data of their own that they typed: the name of the file, the folder or the function."""
    typed = _typed(overrides)
    root = typed.get("data.root")
    return PurePath(root).stem if root else typed.get("data.function")


def _named_data(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Identity -> the content of its data by the name that people gave them, if no two of the sweep have one name."""
    content = {
        cell["identity"]: cell["config"][CONTENT] for cell in manifest.cells if CONTENT in cell["config"]
    }
    names = {
        content[cell["identity"]]: own_data(cell["overrides"])
        for cell in manifest.cells
        if cell["identity"] in content
    }
    if None in names.values() or len(set(names.values())) < len(names):
        return {}
    return {identity: {CONTENT: names[each]} for identity, each in content.items()}


def _chosen(overrides: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    """What a cell's overrides choose of these groups or keys: {"model": "plain_cifar"}."""
    typed = _typed(overrides)
    return {group: typed.get(group) for group in groups}


def _typed(overrides: Sequence[str]) -> dict[str, str]:
    """Key -> what stands behind its "=", without quotes."""
    pairs = (text.partition("=") for text in overrides if "=" in text)
    return {key: value.strip("'\"") for key, _, value in pairs}
