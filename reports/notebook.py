"""A sweep in a notebook: its cells, their curves and its verdicts as pandas tables, and the figures of its report.

Every function takes what `python -m reports` takes. name: of a sweep or a study, the sweep asked for last without one.
runs: the runs folder. source: as --source. studies: a folder or a package of studies of one's own, as --studies; where
the sweep had its study is known without it. ConfigError, of one sentence, for what does not exist or cannot be read.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ablations.sweep import studies as known_studies
from ablations.verdicts.judge import WORDS, Verdict
from ablations.verdicts.results import NOT_NEEDED
from lightning_module.cell.record import FINAL
from lightning_module.support.command_line import RUNS
from reports import choose, sources
from reports.numbers.join import PENDING, Collected, collect, varies
from reports.pages.document import Figure
from reports.pages.figure import figure_svg
from reports.pages.svg import escaped
from reports.sections.report import build_report
from reports.sources import RUN_COLUMNS, is_config, is_metric

STATES = (*PENDING, *FINAL, NOT_NEEDED)
"""The categories of the column `state`."""

COUNTS = ("parameters", "multiply_adds", "attempts", "epoch", "step", "devices")
"""Columns of whole numbers, which a cell that never ran may lack."""


@dataclass(frozen=True)
class Drawing:
    """A figure of a report, which a notebook shows. svg: the content of its file."""

    caption: str
    svg: str

    def _repr_html_(self) -> str:
        # As an image: the styles of an SVG that stands in a page count for the whole page.
        data = base64.b64encode(self.svg.encode()).decode()
        return f'<img src="data:image/svg+xml;base64,{data}" alt="{escaped(self.caption)}">'


def frame(
    name: str | None = None,
    *,
    runs: str | Path = RUNS,
    source: str = "records",
    studies: str | None = None,
) -> pd.DataFrame:
    """One row per declared cell, whether it has a record or not, in the manifest's order.

    Columns: identity, name; what the cells differ in (`model.depth`, `seed`), typed; state, a category; the metrics of
    the last epoch (`test/error`, in %), NaN where there is none; then the rest of reports.sources.RUN_COLUMNS, the
    command that runs the cell again, and its whole configuration. Times are in seconds.
    """
    c = _collected(name, runs, source, studies)
    columns = [str(column) for column in c.cells.columns]
    metrics = [column for column in columns if is_metric(column)]
    told = [column for column in (*RUN_COLUMNS, "departure", "command") if column in columns]
    rest = [column for column in columns if is_config(column)]
    return _typed(c, ["identity", "name", *_factors(c), "state", *metrics, *told, *rest])


def history(
    name: str | None = None,
    *,
    runs: str | Path = RUNS,
    source: str = "records",
    studies: str | None = None,
) -> pd.DataFrame:
    """One row per cell and epoch: identity, name, what the cells differ in, epoch, step and what was logged.

    `test/error` and its like are in %, `seconds` is the time of the epoch.
    """
    c = _collected(name, runs, source, studies)
    cells = _typed(c, ["identity", "name", *_factors(c)])
    curves = c.history.astype({"epoch": "int64", "step": "int64"}).astype({"identity": str})
    found = cells.merge(curves, on="identity")
    found.attrs = cells.attrs
    return found


def verdicts(
    name: str | None = None,
    *,
    runs: str | Path = RUNS,
    source: str = "records",
    studies: str | None = None,
) -> pd.DataFrame:
    """One row per claim of the sweep's study; none without a study.

    Columns: claim, with its margin; verdict, a category (see docs/studies.md); metric; difference, with the interval
    from low to high at the level at which it was judged, in the metric's unit (of errors: points), NaN where there is
    none; pairs with a result, and how many were planned.
    """
    c = _collected(name, runs, source, studies)
    columns = ["claim", "verdict", "metric", "difference", "low", "high", "level", "pairs", "planned"]
    rows = [dict(zip(columns, _judged(verdict), strict=True)) for verdict in c.verdicts]
    found = pd.DataFrame(rows, columns=columns)
    found["verdict"] = pd.Categorical(found["verdict"], WORDS)
    found.attrs["sweep"] = c.manifest.name
    return found


def figures(
    name: str | None = None,
    *,
    runs: str | Path = RUNS,
    source: str = "records",
    studies: str | None = None,
) -> dict[str, Drawing]:
    """The figures of the report, by the names of their files: {"learning_curves": …}."""
    report = build_report(_collected(name, runs, source, studies), "")
    drawn = [block for block in report.blocks if isinstance(block, Figure)]
    return {figure.name: Drawing(figure.caption, figure_svg(figure)) for figure in drawn}


def _collected(name: str | None, runs: str | Path, source: str, studies: str | None) -> Collected:
    if studies:
        known_studies.use(studies)
    manifest, _ = choose.manifest(name, Path(runs), source)
    return collect(manifest, choose.study(manifest), sources.load(source, Path(runs), manifest))


def _factors(c: Collected) -> list[str]:
    """What makes the places of the tables, and whatever else the cells differ in."""
    varying = (key for key in c.studied if key in c.cells and varies(c.cells, key))
    return list(dict.fromkeys([*c.row_keys, *c.column_keys, *varying]))


def _typed(c: Collected, columns: Iterable[str]) -> pd.DataFrame:
    """These columns of the cells, each as its own type."""
    found = c.cells[list(dict.fromkeys(columns))].copy()
    for column in found:
        if column == "state":
            found[column] = pd.Categorical(found[column], STATES)
        elif column in COUNTS:
            found[column] = found[column].astype("Int64")
        elif column == "dirty":
            found[column] = found[column].astype("boolean")
        elif found[column].dtype == object:
            lacks = found[column].isna().any()  # plain types have no whole number that is absent
            found[column] = found[column].convert_dtypes() if lacks else found[column].infer_objects()
    found.attrs["sweep"] = c.manifest.name
    return found


def _judged(verdict: Verdict) -> tuple[Any, ...]:
    """The values of a row of `verdicts`."""
    claim, e = verdict.claim, verdict.difference
    evidence = [verdict.shown] if verdict.shown else verdict.every[:1]
    counted = (evidence[0].pairs.n, evidence[0].pairs.planned) if evidence else (0, 0)
    return (claim.sentence, verdict.word, claim.metric, e.mean, e.low, e.high, e.level, *counted)
