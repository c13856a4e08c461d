"""In what the records and W&B disagree, as findings. Pure functions of two frames.

Compared are state, configuration, what is known of the last attempt, every value of the history, the summary and
the events. Runs that are still going on are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from ablations.sweep.manifest import Manifest
from lightning_module.support.text import visible
from lightning_module.tracking.sweeps import carries
from reports.sources import RUN_COLUMNS, Frames, is_config

Kind = Literal[
    "missing", "not synced", "unreadable", "stale", "different", "undeclared",
    "added", "duplicate", "damaged", "deleted",
]  # fmt: skip
MENDED_BY_SYNC: tuple[Kind, ...] = ("missing", "not synced", "unreadable", "stale", "different", "undeclared")
FACTS = ("name", "parameters", "multiply_adds", "commit", "dirty", "versions", "hardware", "images", "job")
"""RUN_COLUMNS that W&B was told; the others follow from the history, or each source has its own."""


@dataclass(frozen=True)
class Finding:
    """One thing in which records and W&B disagree. identity: of the cell; url: its run on W&B, "" without one."""

    kind: Kind
    identity: str
    name: str
    text: str
    url: str = ""

    def __str__(self) -> str:
        return visible(f"{self.kind:<11}{self.identity}  {self.name}: {self.text}")


def compare(
    local: Frames, other: Frames, offline: frozenset[str] = frozenset(), there: str = "on W&B"
) -> list[Finding]:
    """What `other` (W&B) lacks or has otherwise than `local` (the records), one finding for a record.

    offline: runs with W&B files in the runs folder, whose absence on the server means "not yet synced".
    there: where `other` was found.
    """
    theirs = by_run(other)
    differences, added = _differences(local, other, there), _added(local, other)

    def disagreement(identity: str, run: Mapping[str, Any]) -> tuple[Kind, str] | None:
        found = theirs.get(identity)
        if run["state"] == "damaged":
            return "damaged", run["reason"]
        if found is None and identity in offline:
            return "not synced", "its W&B file is not on the server yet"
        if found is None:
            return "missing", f"a record, but no run of its cell {there}"
        if found["state"] == "damaged":
            return "unreadable", found["reason"]
        if keys := [key for key in ("state", "epoch", "attempts") if run[key] != found[key]]:
            return "stale", "; ".join(f"{k} {run[k]} in the record, {found[k]} {there}" for k in keys)
        if identity in differences:
            first, *more = differences[identity]
            return "different", first + (f" and {len(more)} more" if more else "")
        if identity in added:
            return "added", f"configuration {there} that no record has: {', '.join(added[identity])}"
        if others := other.duplicates.get(identity):
            return "duplicate", f"several runs of one cell; {found['url']} counts, not {', '.join(others)}"
        return None

    return [
        Finding(*(problem[0], identity, run["name"], problem[1]), theirs.get(identity, {}).get("url", ""))
        for identity, run in by_run(local).items()
        if run["state"] != "running" and (problem := disagreement(identity, run))
    ]


def undeclared(local: Frames, other: Frames, asked: Iterable[Manifest]) -> list[Finding]:
    """Sweeps that were asked for here, and that no run on W&B carries as they were declared.

    The finding names the first of their finished runs that would. A sweep without one has nothing to be pushed with.
    """
    runs, theirs, known = by_run(local), by_run(other), {sweep.name: sweep for sweep in other.declared}
    findings = []
    for manifest in asked:
        if manifest.name in known and known[manifest.name].holds(manifest):
            continue
        count = len(manifest.cells)
        cells = [cell["identity"] for index, cell in enumerate(manifest.cells) if carries(count, index)]
        able = [one for one in cells if one in runs and runs[one]["state"] not in ("running", "damaged")]
        if able:
            text = f"what sweep {manifest.name} declared is not on W&B as it is here"
            url = theirs.get(able[0], {}).get("url", "")
            findings.append(Finding("undeclared", able[0], runs[able[0]]["name"], text, url))
    return findings


def without_record(local: Frames, other: Frames) -> list[str]:
    """Names of the runs of ours on W&B of which there is no record here: a colleague's, say."""
    mine = by_run(local)
    return [run["name"] for identity, run in by_run(other).items() if identity not in mine]


def by_run(frames: Frames) -> dict[str, dict[str, Any]]:
    """Identity -> the row of the runs frame."""
    rows: list[dict[Any, Any]] = frames.runs[list(RUN_COLUMNS)].to_dict("records")
    return {row["identity"]: row for row in rows}


def _differences(local: Frames, other: Frames, there: str) -> dict[str, list[str]]:
    """identity of a run that both have -> each value in which they differ, in words."""
    shared = {*local.runs["identity"]} & {*other.runs["identity"]}
    texts: dict[str, list[str]] = {identity: [] for identity in shared}
    facts = [column for column in local.runs.columns if column in FACTS or is_config(column)]
    runs = [frames.runs.reindex(columns=["identity", *facts]) for frames in (local, other)]
    for keys, pair in ((["identity"], runs), (["identity", "epoch"], [local.history, other.history])):
        # As plain texts, on which two tables can be merged.
        both = [table[table["identity"].isin(shared)].astype({"identity": object}) for table in pair]
        for line, values in _unequal(both[0], both[1], keys, there):
            texts[line["identity"]].append(f"at epoch {line['epoch']:.0f}, {values}" if keys[1:] else values)
    for identity in shared:
        for key, value in other.summaries.get(identity, {}).items():
            texts[identity].append(f"{key} in the summary {there} is {value!r}, unlike the last epoch")
        if _plain(local.events.get(identity, [])) != _plain(other.events.get(identity, [])):
            texts[identity].append(f"events {there} are not those of the record")
    return {identity: differences for identity, differences in texts.items() if differences}


def _added(local: Frames, other: Frames) -> dict[str, list[str]]:
    """identity -> keys of its configuration on W&B that no record has: a push would not take them away."""
    added: dict[str, list[str]] = {}
    for column in other.runs.columns.difference(local.runs.columns):
        if is_config(column):
            for identity in other.runs.loc[other.runs[column].notna(), "identity"]:
                added.setdefault(identity, []).append(column)
    return added


def _unequal(
    mine: pd.DataFrame, theirs: pd.DataFrame, keys: list[str], there: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """Where two tables differ: the row of both, and the two values in words."""
    columns = sorted({*mine.columns, *theirs.columns} - {*keys})
    tables = [table.reindex(columns=keys + columns) for table in (mine, theirs)]
    both = tables[0].merge(tables[1], on=keys, how="outer", suffixes=("", " on W&B"), sort=True)
    for column in columns:
        a, b = both[column], both[f"{column} on W&B"]
        for row in both[(a != b) & ~(a.isna() & b.isna())].itertuples(index=False, name=None):
            line = dict(zip(both.columns, row, strict=True))
            yield line, f"{column}: {line[column]!r} in the record, {line[f'{column} on W&B']!r} {there}"


def _plain(value: Any) -> Any:
    """Plain data with NaN and infinities spelled as W&B spells them, so that they equal themselves."""
    return json.loads(json.dumps(value), parse_constant=str)
