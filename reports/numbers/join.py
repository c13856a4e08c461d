"""The left join: the cells that somebody asked for, with the runs that exist. No hole can vanish in it."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from ablations.study import Study
from ablations.sweep.manifest import Manifest
from reports.numbers.statistics import Estimate, estimate
from reports.sources import RUN_COLUMNS, Frames, is_metric

OPEN = ("planned", "queued", "running", "killed", "failed", "damaged")
"""States in which a number is still to come."""

TEST_ERROR, TRAIN_ERROR = "test/error", "train/error"
RESPONSES = "layer_response/"

Level = tuple[Any, ...]
"""A place on an axis of the tables: one level per key of that axis."""


@dataclass(frozen=True)
class Collected:
    """Everything that a report is made from.

    cells: one row per declared cell, in the manifest's order: RUN_COLUMNS, metrics of the last epoch (NaN
    where there is none), `command` that runs it again, the configuration, and `row` and `column`: its place
    in the tables. history: of these cells. row_keys, column_keys: configuration keys that make the places.
    """

    manifest: Manifest
    study: Study | None
    cells: pd.DataFrame
    history: pd.DataFrame
    events: Mapping[str, Sequence[Mapping[str, Any]]]
    row_keys: tuple[str, ...]
    column_keys: tuple[str, ...]
    _estimates: dict[str, dict[tuple[Level, Level], Estimate]] = field(default_factory=dict, init=False)

    @cached_property
    def groups(self) -> dict[tuple[Level, Level], pd.DataFrame]:
        """(row, column) -> its cells, one per seed."""
        places: dict[tuple[Level, Level], list[int]] = {}
        for index, place in enumerate(zip(self.cells["row"], self.cells["column"], strict=True)):
            places.setdefault(place, []).append(index)
        return {place: self.cells.iloc[indices] for place, indices in places.items()}

    @cached_property
    def rows(self) -> tuple[Level, ...]:
        """Rows of the tables, in order."""
        return ordered(self.cells["row"])

    @cached_property
    def row_texts(self) -> dict[Level, str]:
        """Row -> what it is called: a further key is named only where it tells rows apart that begin alike."""
        alike: dict[Level, list[Level]] = {}
        for row in self.rows:
            alike.setdefault(row[:1], []).append(row)
        texts = {}
        for rows in alike.values():
            kept = [i for i, values in enumerate(zip(*rows, strict=True)) if i == 0 or len(set(values)) > 1]
            keys = [self.row_keys[i] for i in kept]
            texts.update({row: level_text(tuple(row[i] for i in kept), keys) for row in rows})
        return texts

    @cached_property
    def columns(self) -> tuple[Level, ...]:
        """Columns of the tables, in order; one empty level when there are none."""
        return ordered(self.cells["column"])

    @cached_property
    def places(self) -> tuple[tuple[Level, Level], ...]:
        """The places that hold cells, row by row."""
        return tuple((r, k) for r in self.rows for k in self.columns if (r, k) in self.groups)

    def estimates(self, column: str) -> dict[tuple[Level, Level], Estimate]:
        """Place -> mean over its finished cells, with what diverged and what was asked for."""
        if column not in self._estimates:
            values: dict[tuple[Level, Level], list[float]] = {place: [] for place in self.groups}
            diverged, planned = Counter[tuple[Level, Level]](), Counter[tuple[Level, Level]]()
            c = self.cells
            for *place, state, value in zip(c["row"], c["column"], c["state"], c[column], strict=True):
                key = (place[0], place[1])
                planned[key] += 1
                diverged[key] += state == "diverged"
                if state == "finished" and not math.isnan(value):
                    values[key].append(value)
            found = {
                key: estimate(v, diverged=diverged[key], planned=planned[key]) for key, v in values.items()
            }
            self._estimates[column] = found
        return self._estimates[column]

    @property
    def studied(self) -> tuple[str, ...]:
        """The factors: what a study declares and what was typed, or what the cells of a sweep differ in.

        May name groups.
        """
        return factors(self.manifest, self.study)

    @property
    def metric(self) -> str:
        """What the study measures; of benchmarks their speed, whatever study they come from."""
        if self.is_benchmark:
            return "images_per_second"
        return self.study.metric if self.study else TEST_ERROR

    @property
    def is_benchmark(self) -> bool:
        """Whether the cells measured speed (`mode=benchmark`) and trained nothing to an end."""
        return "mode" in self.cells and bool(self.cells["mode"].eq("benchmark").all())

    @property
    def is_open(self) -> bool:
        """Whether any declared cell has no final state yet."""
        return bool(self.cells["state"].isin(OPEN).any())


def key_text(key: str) -> str:
    """A configuration key for people: "model.shortcut_type" -> "shortcut type"."""
    return key.rpartition(".")[2].replace("_", " ")


def level_text(level: Level, keys: Sequence[str]) -> str:
    """A place for people: the first level bare, further ones with their keys: "56, learning rate 0.1"."""
    first = [value_text(value) for value in level[:1]]
    return ", ".join(
        first + [f"{key_text(k)} {value_text(v)}" for k, v in zip(keys[1:], level[1:], strict=True)]
    )


def value_text(value: Any) -> str:
    """A configuration value for people."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def ordered(levels: Iterable[Level]) -> tuple[Level, ...]:
    """Levels once each: numbers in their order, everything else in order of appearance."""
    unique = list(dict.fromkeys(levels))
    if not unique:
        return ()
    ranks: list[dict[Any, Any]] = []
    for position in range(len(unique[0])):
        values = list(dict.fromkeys(level[position] for level in unique))
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        ranks.append({value: rank for rank, value in enumerate(sorted(values) if numeric else values)})
    return tuple(
        sorted(unique, key=lambda level: [rank[value] for rank, value in zip(ranks, level, strict=True)])
    )


def factors(manifest: Manifest, study: Study | None) -> tuple[str, ...]:
    """Keys and groups that may tell cells apart, the rows of the tables first.

    What was typed belongs to a study's own: recipe.learning_rate=0.03,0.1 makes two rows of each, never a mean.
    """
    if study is None:
        return manifest.factors
    typed = (text.partition("=")[0] for text in manifest.overrides)
    named = [key for key in (study.rows, study.columns) if key]
    return tuple(dict.fromkeys([*named, *study.factors, *typed]))


def collect(manifest: Manifest, study: Study | None, frames: Frames) -> Collected:
    """Join a manifest's cells with what a source found of them."""
    declared = pd.DataFrame(
        {
            "identity": [cell["identity"] for cell in manifest.cells],
            "command": [shlex.join(["python", "run.py", *cell["overrides"]]) for cell in manifest.cells],
            "declared_name": [cell["name"] for cell in manifest.cells],
            "declared_parameters": [cell["parameters"] for cell in manifest.cells],
            "declared_multiply_adds": [cell["multiply_adds"] for cell in manifest.cells],
        }
    )
    kept = [column for column in frames.runs.columns if column in RUN_COLUMNS or is_metric(column)]
    cells = declared.merge(frames.runs[kept], on="identity", how="left", validate="m:1")
    cells["state"] = cells["state"].fillna("planned")
    cells["name"] = cells.pop("declared_name")
    cells["parameters"] = cells.pop("declared_parameters")
    cells["multiply_adds"] = cells.pop("declared_multiply_adds")
    for column in ("reason", "commit", "versions", "hardware", "job", "url", "checksum"):
        cells[column] = cells[column].fillna("").astype(object)
    for metric in dict.fromkeys((TEST_ERROR, TRAIN_ERROR, *(spoken_of(study) if study else ()))):
        if metric.startswith(RESPONSES):
            cells[metric] = [response(frames.events.get(name, ()), metric) for name in cells["identity"]]
        elif metric not in cells:
            cells[metric] = float("nan")
    groups = [key for key in factors(manifest, study) if "." not in key and key != "seed"] if study else []
    configs = [_frozen(cell["config"]) | _chosen(cell["overrides"], groups) for cell in manifest.cells]
    keys = sorted({key for config in configs for key in config})
    columns = {key: pd.Series([config.get(key) for config in configs], dtype=object) for key in keys}
    cells = pd.concat([cells, pd.DataFrame(columns, index=cells.index)], axis=1)
    row_keys, column_keys = axes(cells, manifest, study)
    cells["row"] = pd.Series([tuple(c.get(k) for k in row_keys) for c in configs], dtype=object)
    cells["column"] = pd.Series([tuple(c.get(k) for k in column_keys) for c in configs], dtype=object)
    found = set(cells["identity"])
    history = frames.history[frames.history["identity"].isin(found)]
    return Collected(manifest, study, cells, history, frames.events, row_keys, column_keys)


def spoken_of(study: Study) -> tuple[str, ...]:
    """The metrics of a study: its own, then those of its claims and of the paper's numbers."""
    return tuple(
        dict.fromkeys(
            (study.metric, *(claim.metric for claim in study.claims), *(p.metric for p in study.published))
        )
    )


def response(events: Sequence[Mapping[str, Any]], metric: str) -> float:
    """Of the layer responses that a run recorded: "layer_response/mean", or "…/rank 3", the third strongest.

    They are made here, from the event, so that they are the same from every source. NaN if there is none.
    """
    found = [event["responses"] for event in events if event.get("event") == "layer_responses"]
    stds = sorted((std for _, std in found[-1]), reverse=True) if found else []
    what = metric.removeprefix(RESPONSES)
    if what == "mean":
        return math.fsum(stds) / len(stds) if stds else math.nan
    rank = int(what.removeprefix("rank "))
    return stds[rank - 1] if rank <= len(stds) else math.nan


def axes(
    cells: pd.DataFrame, manifest: Manifest, study: Study | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Configuration keys of the rows and of the columns of the tables.

    A study names them. Otherwise the first factor makes the rows and the second the columns. Further factors
    join the rows where cells of one place would otherwise differ in them, so that only seeds are averaged.
    """
    known = [key for key in factors(manifest, study) if key != "seed" and key in cells]
    varying = [key for key in known if cells[key].map(repr).nunique() > 1] or known
    if study:
        rows, columns = [study.rows], [study.columns] if study.columns else []
    else:
        rows, columns = varying[:1], varying[1:2]
        rows = rows or [key for key in ("model.depth", "seed") if key in cells][:1]
    for key in varying:
        if key in rows or key in columns:
            continue
        places = cells[[*rows, *columns, key]].map(repr)
        if (places.groupby([*rows, *columns])[key].nunique() > 1).any():
            rows.append(key)
    return tuple(rows), tuple(columns)


def _chosen(overrides: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    """What a cell's overrides choose of these configuration groups: {"model": "plain_cifar"}."""
    typed = dict(text.split("=", 1) for text in overrides if "=" in text)
    return {group: typed.get(group) for group in groups}


def _frozen(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sequences as tuples, as in the schema of the sources."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
