"""The left join: the cells that somebody asked for, with the runs that exist. No hole can vanish in it."""

from __future__ import annotations

import contextlib
import itertools
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from ablations.study import Claim, Published, Study
from ablations.sweep.manifest import Manifest
from ablations.sweep.results import factors, levels_of
from ablations.verdicts.judge import Verdict, judge_claims
from ablations.verdicts.pairs import Pairs, pairs, spread_by_images
from ablations.verdicts.results import NOT_NEEDED, RESPONSES, Result, response
from ablations.verdicts.statistics import Estimate, estimate, with_spread
from ablations.words import network_text
from lightning_module.cell.record import last_event, rate_departure
from lightning_module.support.command_line import COMMANDS, CONSOLE
from lightning_module.support.errors import ConfigError
from reports.sources import RUN_COLUMNS, Frames, is_metric
from reports.sources._frames import config_columns
from reports.words import distinct_texts, heading, settings_text

PENDING = ("planned", "queued", "running", "killed", "failed", "damaged")
"""States in which a number is still to come."""

TEST_ERROR, TRAIN_ERROR, SPEED = "test/error", "train/error", "images_per_second"

Level = tuple[Any, ...]
"""A row or a column of the tables: one value per key of that axis."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a row and a column of the tables meet: cells that differ in nothing but the seed.

    text: "depth 56, shortcut B". labels: what stands in the first columns of its line: ("56", "B"). results: of the
    cells, in their order.
    """

    row: Level
    column: Level
    text: str
    labels: tuple[str, ...]
    cells: pd.DataFrame
    results: tuple[Result, ...] = ()
    _means: dict[str, Estimate] = field(default_factory=dict, init=False)

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The cells that have a number."""
        done = self.cells["state"] == "finished"
        return self.cells if done.all() else self.cells[done]

    @property
    def parameters(self) -> float:
        """Of one network."""
        return float(self.cells["parameters"].iloc[0])

    @property
    def multiply_adds(self) -> float:
        """Of one network, in one forward pass of one image."""
        return float(self.cells["multiply_adds"].iloc[0])

    def mean(self, metric: str) -> Estimate:
        """Of a metric, over the finished cells, with how many cells diverged and how many were asked for."""
        if metric not in self._means:
            states = self.cells["state"].tolist()
            values = zip(states, self.cells[metric].tolist(), strict=True)
            known = [value for state, value in values if state == "finished" and not math.isnan(value)]
            mean = estimate(known, states.count("diverged"), len(states) - states.count(NOT_NEEDED))
            if mean.sd == 0 and not math.isnan(spread := spread_by_images(self.results, metric)):
                mean = with_spread(mean, spread)
            self._means[metric] = replace(mean, departed=int(self.finished["departure"].ne("").sum()))
        return self._means[metric]


@dataclass(frozen=True)
class Collected:
    """Everything that a report is made from.

    cells: one row per declared cell, in the manifest's order: RUN_COLUMNS, metrics of the last epoch (NaN
    where there is none), `command` that runs it again, `departure` (see rate_departure), the configuration,
    and `row` and `column`: its place in the tables. history: of these cells. studied: the factors, as in
    `factors`. row_keys, column_keys: configuration keys that make the places.
    """

    manifest: Manifest
    study: Study | None
    cells: pd.DataFrame
    history: pd.DataFrame
    events: Mapping[str, Sequence[Mapping[str, Any]]]
    studied: tuple[str, ...]
    row_keys: tuple[str, ...]
    column_keys: tuple[str, ...]

    @cached_property
    def results(self) -> dict[str, Result]:
        """The cells as plain data, by identity: what claims are judged by."""
        metrics = [str(name) for name in self.cells.columns if is_metric(name) or name == SPEED]
        values = [dict(zip(metrics, row, strict=True)) for row in self.cells[metrics].itertuples(index=False)]
        levels = levels_of(self.manifest, self.study)
        told = zip(self.cells["identity"], levels, self.cells["state"], values, strict=True)
        return {
            identity: Result(identity, level, state, value, self.events.get(identity, ()))
            for identity, level, state, value in told
        }

    @cached_property
    def rows(self) -> dict[Level, str]:
        """Rows of the tables in order, with what each is called under `row_heading`."""
        return self._networks or distinct_texts(ordered(self.cells["row"]), self.row_keys)

    @cached_property
    def row_names(self) -> dict[Level, str]:
        """The same where no heading stands above: "depth 56"."""
        return self._networks or distinct_texts(self.rows, self.row_keys, settings_text)

    @cached_property
    def row_heading(self) -> str:
        """What the rows are: "depth"."""
        return "network" if self._networks else heading(self.row_keys[:1])

    @cached_property
    def _networks(self) -> dict[Level, str]:
        """Row -> the name of its network, where rows are networks by name and no two are the same."""
        if self.row_keys[:1] not in (("model",), ("model.family",)):
            return {}
        names = self.cells["name"].str.rpartition(" seed ")[0]
        told = set(zip(self.cells["row"], names, strict=True))
        named = dict(told)
        alone = len(told) == len(named) == len(set(named.values()))
        return {row: network_text(named[row]) for row in ordered(self.cells["row"])} if alone else {}

    @cached_property
    def columns(self) -> dict[Level, str]:
        """Columns of the tables in order, with what each is called; one empty level when there are none."""
        return distinct_texts(ordered(self.cells["column"]), self.column_keys, settings_text)

    @cached_property
    def _by_level(self) -> dict[tuple[Level, Level], Place]:
        indices: dict[tuple[Level, Level], list[int]] = {}
        for index, levels in enumerate(zip(self.cells["row"], self.cells["column"], strict=True)):
            indices.setdefault(levels, []).append(index)
        places, below_heading = {}, distinct_texts(self.columns, self.column_keys)
        for row, column in ((row, column) for row in self.rows for column in self.columns):
            if (row, column) in indices:
                text = ", ".join([self.row_names[row]] * bool(row) + [self.columns[column]] * bool(column))
                labels = [self.rows[row]] * bool(row) + [below_heading[column]] * bool(column)
                cells = self.cells.iloc[indices[row, column]]
                results = tuple(self.results[name] for name in cells["identity"])
                places[row, column] = Place(row, column, text, tuple(labels), cells, results)
        return places

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The places that hold cells, row by row."""
        return tuple(self._by_level.values())

    def place(self, row: Level, column: Level) -> Place | None:
        """The place there; None where no cell was asked for."""
        return self._by_level.get((row, column))

    def compare(self, of: Place, than: Place) -> Pairs:
        """The pairs of two places, of the study's metric."""
        return pairs(of.results, than.results, self.metric)

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each claim of the study."""
        claims = self.study.claims if self.study else ()
        return tuple(judge_claims(self.results.values(), self.studied, claims))

    @property
    def metric(self) -> str:
        """What the study measures; of benchmarks their speed, whatever study they come from."""
        if self.is_benchmark:
            return SPEED
        return self.study.metric if self.study else TEST_ERROR

    @property
    def is_benchmark(self) -> bool:
        """Whether the cells measured speed (`mode=benchmark`) and trained nothing to an end."""
        return "mode" in self.cells and bool(self.cells["mode"].eq("benchmark").all())

    @property
    def is_open(self) -> bool:
        """Whether any declared cell has no final state yet."""
        return bool(self.cells["state"].isin(PENDING).any())

    @property
    def status(self) -> str:
        """How far the cells are: "43 of 45 cells finished, 1 diverged, 1 failed"."""
        count = Counter(self.cells["state"])
        rest = [f"{count[state]} {state}" for state in ("diverged", NOT_NEEDED, *PENDING) if count[state]]
        return ", ".join([f"{count['finished']} of {len(self.cells)} cells finished", *rest])


def varies(cells: pd.DataFrame, key: str) -> bool:
    """Whether the cells differ in a key of their configuration."""
    return bool(cells[key].map(repr).nunique() > 1)


def ordered(levels: Iterable[Level]) -> tuple[Level, ...]:
    """Levels once each: numbers in their order, everything else in order of appearance."""
    unique = list(dict.fromkeys(levels))
    ranks: list[dict[Any, int]] = []
    for values in map(dict.fromkeys, zip(*unique, strict=True)):
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        ranks.append({value: rank for rank, value in enumerate(sorted(values) if numeric else values)})
    return tuple(
        sorted(unique, key=lambda level: [rank[value] for rank, value in zip(ranks, level, strict=True)])
    )


def _program(manifest: Manifest) -> list[str]:
    """What the sweep was started with: ["python", "run.py"], or the command that an installation provides."""
    with contextlib.suppress(ValueError):  # of a manifest that somebody wrote by hand
        words = shlex.split(manifest.command)
        if len(words) > 1 and words[0] in ("python", CONSOLE):
            return words[:2]
    return list(COMMANDS["run"])


def collect(manifest: Manifest, study: Study | None, frames: Frames) -> Collected:
    """Join a manifest's cells with what a source found of them; ConfigError if they are not those of the study."""
    own = ("identity", "name", "parameters", "multiply_adds")
    declared = pd.DataFrame({key: [cell[key] for cell in manifest.cells] for key in own})
    program = _program(manifest)
    declared["command"] = [shlex.join([*program, *cell["overrides"]]) for cell in manifest.cells]
    observed = [name for name in frames.runs.columns if name in RUN_COLUMNS or is_metric(name)]
    runs = frames.runs[[name for name in observed if name not in own[1:]]]
    cells = declared.merge(runs, on="identity", how="left", validate="m:1")
    cells["state"] = cells["state"].fillna("planned")
    if manifest.rounds and manifest.rounds[-1]["end"]:
        cells["state"] = cells["state"].replace("planned", NOT_NEEDED)
    for column in ("reason", "commit", "versions", "hardware", "images", "job", "url", "checksum"):
        cells[column] = cells[column].fillna("").astype(object)
    speaking: list[Study | Claim | Published] = [study, *study.claims, *study.published] if study else []
    cells["departure"] = [rate_departure(frames.events.get(name, ())) for name in cells["identity"]]
    for metric in dict.fromkeys((TEST_ERROR, TRAIN_ERROR, *(each.metric for each in speaking))):
        if metric.startswith(RESPONSES):
            cells[metric] = [response(frames.events.get(name, ()), metric) for name in cells["identity"]]
        elif metric not in cells:
            cells[metric] = math.nan
    studied, configs = factors(manifest, study), levels_of(manifest, study)
    cells = pd.concat([cells, pd.DataFrame(config_columns(configs), index=cells.index)], axis=1)
    lost = [key for key in (study.rows, study.columns) if key and key not in cells] if study else []
    if lost:
        raise ConfigError(
            f"the cells of sweep {manifest.name} have no {lost[0]}, by which study {manifest.study} tells them apart; "
            "run the sweep's command again"
        )
    row_keys, column_keys = axes(cells, studied, study)
    for axis, of_axis in (("row", row_keys), ("column", column_keys)):
        levels = [tuple(config.get(key) for key in of_axis) for config in configs]
        cells[axis] = pd.Series(levels, dtype=object)
    history = frames.history[frames.history["identity"].isin(set(cells["identity"]))]
    return Collected(manifest, study, cells, history, frames.events, studied, row_keys, column_keys)


def rate_drops(events: Sequence[Mapping[str, Any]]) -> tuple[int, ...] | None:
    """Steps after which the learning rate of a run really dropped; None if it did not record its rates."""
    ranges = last_event(events, "learning_rates").get("ranges")
    if ranges is None:
        return None
    try:
        return tuple(after for (*_, rate), (after, _, lower) in itertools.pairwise(ranges) if lower < rate)
    except (TypeError, ValueError):  # somebody else's event of that name
        return None


def axes(
    cells: pd.DataFrame, studied: Sequence[str], study: Study | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Configuration keys of the rows and of the columns of the tables.

    A study names them. Otherwise the first factor makes the rows and the second the columns. Further factors
    join the rows where cells of one place would otherwise differ in them, so that only seeds are averaged.
    """
    known = [key for key in studied if key != "seed" and key in cells]
    varying = [key for key in known if varies(cells, key)] or known
    if study:
        rows, columns = [study.rows], [study.columns] if study.columns else []
    else:
        rows, columns = varying[:1], varying[1:2]
        rows = rows or [key for key in ("model.depth", "seed") if key in cells][:1]
    for key in (key for key in varying if key not in (*rows, *columns)):
        places = cells[[*rows, *columns, key]].map(repr)
        if (places.groupby([*rows, *columns])[key].nunique() > 1).any():
            rows.append(key)
    return tuple(rows), tuple(columns)
