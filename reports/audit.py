"""`python -m reports audit [ENTITY/PROJECT]`: do the records and W&B say the same, and if not, what mends it?

Without ENTITY/PROJECT the records are compared with the W&B files in the runs folder: state, configuration,
what is known of the last attempt, every value of the history, the summary and the events. Runs that are still
going on are not compared, and said so. Exit code 0: they agree; 1: they do not; 2: bad input.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from lightning_module.support.command_line import RUNS, Parser, command, folder
from lightning_module.support.text import visible
from reports.sources import RUN_COLUMNS, Frames, is_config, records, wandb_api, wandb_offline

Kind = Literal["missing", "not synced", "stale", "different", "extra", "duplicate", "added", "damaged"]
MENDED_BY_SYNC: tuple[Kind, ...] = ("missing", "not synced", "stale", "different")
FACTS = ("name", "parameters", "multiply_adds", "commit", "dirty", "versions", "hardware", "images", "job")
"""RUN_COLUMNS that W&B was told; the others follow from the history, or each source has its own."""


@dataclass(frozen=True)
class Finding:
    """One thing in which records and W&B disagree. identity: the run's name on W&B."""

    kind: Kind
    identity: str
    name: str
    text: str

    def __str__(self) -> str:
        return visible(f"{self.kind:<11}{self.identity}  {self.name}: {self.text}")


def compare(local: Frames, other: Frames, offline: frozenset[str] = frozenset()) -> list[Finding]:
    """What `other` (W&B) lacks or has otherwise than `local` (the records); running ones are left out.

    offline: runs with W&B files in the runs folder, whose absence on the server means "not yet synced".
    """
    mine, theirs = _by_run(local), _by_run(other)
    differences, twins, added = _differences(local, other), _twins(other), _added(local, other)

    def disagreement(identity: str, run: Mapping[str, Any]) -> tuple[Kind, str] | None:
        there = theirs.get(identity)
        if run["state"] == "damaged":
            return "damaged", run["reason"]
        if there is None and identity in offline:
            return "not synced", "its W&B file is not on the server yet"
        if there is None:
            return "missing", "a record, but no run on W&B"
        if keys := [key for key in ("state", "epoch", "attempts") if run[key] != there[key]]:
            return "stale", "; ".join(f"{k} {run[k]} in the record, {there[k]} on W&B" for k in keys)
        if identity in differences:
            first, *more = differences[identity]
            return "different", first + (f" and {len(more)} more" if more else "")
        if identity in added:
            return "added", f"configuration on W&B that no record has: {', '.join(added[identity])}"
        return None

    findings = [
        Finding(problem[0], identity, run["name"], problem[1])
        for identity, run in mine.items()
        if run["state"] != "running" and (problem := disagreement(identity, run))
    ]
    for identity in (name for name in theirs if name not in mine):
        twin = twins.get(identity)
        kind: Kind = "duplicate" if twin else "extra"
        text = f"the same cell as run {twin}" if twin else "a run on W&B, but no record here"
        findings.append(Finding(kind, identity, theirs[identity]["name"], text))
    return findings


def _by_run(frames: Frames) -> dict[str, dict[str, Any]]:
    """Identity -> the row of the runs frame."""
    rows: list[dict[Any, Any]] = frames.runs[list(RUN_COLUMNS)].to_dict("records")
    return {row["identity"]: row for row in rows}


def _differences(local: Frames, other: Frames) -> dict[str, list[str]]:
    """identity of a run that both have -> each value in which they differ, in words."""
    shared = {*local.runs["identity"]} & {*other.runs["identity"]}
    texts: dict[str, list[str]] = {identity: [] for identity in shared}
    facts = [column for column in local.runs.columns if column in FACTS or is_config(column)]
    runs = [frames.runs.reindex(columns=["identity", *facts]) for frames in (local, other)]
    for keys, pair in ((["identity"], runs), (["identity", "epoch"], [local.history, other.history])):
        # As plain texts, on which two tables can be merged.
        both = [table[table["identity"].isin(shared)].astype({"identity": object}) for table in pair]
        for line, values in _unequal(both[0], both[1], keys):
            texts[line["identity"]].append(f"at epoch {line['epoch']:.0f}, {values}" if keys[1:] else values)
    for identity in shared:
        for key, value in other.summaries.get(identity, {}).items():
            texts[identity].append(f"{key} in the summary on W&B is {value!r}, unlike the last epoch")
        if _plain(local.events.get(identity, [])) != _plain(other.events.get(identity, [])):
            texts[identity].append("events on W&B are not those of the record")
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
    mine: pd.DataFrame, theirs: pd.DataFrame, keys: list[str]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Where two tables differ: the row of both, and the two values in words."""
    columns = sorted({*mine.columns, *theirs.columns} - {*keys})
    tables = [table.reindex(columns=keys + columns) for table in (mine, theirs)]
    both = tables[0].merge(tables[1], on=keys, how="outer", suffixes=("", " on W&B"), sort=True)
    for column in columns:
        a, b = both[column], both[f"{column} on W&B"]
        for row in both[(a != b) & ~(a.isna() & b.isna())].itertuples(index=False, name=None):
            line = dict(zip(both.columns, row, strict=True))
            yield line, f"{column}: {line[column]!r} in the record, {line[f'{column} on W&B']!r} on W&B"


def _plain(value: Any) -> Any:
    """Plain data with NaN and infinities spelled as W&B spells them, so that they equal themselves."""
    return json.loads(json.dumps(value), parse_constant=str)


def _twins(frames: Frames) -> dict[str, str]:
    """Run -> another run with the same configuration, the one whose name sorts first."""
    configs = frames.runs[[column for column in frames.runs.columns if is_config(column)]]
    rows = configs.itertuples(index=False, name=None)
    first: dict[tuple[object, ...], str] = {}
    twins: dict[str, str] = {}
    for identity, config in zip(frames.runs["identity"], rows, strict=True):
        other = first.setdefault(config, identity)
        if other != identity:
            twins |= {identity: other, other: identity}
    return twins


def mend(finding: Finding, where: str, runs: Path) -> str:
    """The command that mends a finding; where: ENTITY/PROJECT, "" for the files in the runs folder."""
    if finding.kind in MENDED_BY_SYNC:
        return command("sync", where or "ENTITY/PROJECT", runs=runs)
    path = f"{where}/{finding.identity}"
    if finding.kind == "duplicate":
        code = f"import wandb; wandb.Api().run({path!r}).delete()"
        plain = re.fullmatch(r"[\w./-]+", path)  # nothing that a shell reads between double quotes
        return f'python -c "{code}"' if plain else shlex.join(["python", "-c", code])
    if finding.kind == "added":
        return f"delete the key from the configuration of {path} on W&B"
    if finding.kind == "damaged":
        return f"restore the record, or move {runs / finding.identity} away and run the cell again"
    return f"copy its run folder to {runs / finding.identity}, or report from W&B: --source wandb:{where}"


def main(arguments: Sequence[str]) -> int:
    """Compare, and print the findings with what mends them; the exit code. arguments: those after `audit`."""
    p = Parser(command("audit"), description="Compares the records with W&B.")
    p.add_argument("where", nargs="?", default="", metavar="ENTITY/PROJECT", help="default: the files here")
    p.add_argument("--runs", type=folder, default=RUNS, metavar="FOLDER", help="default: runs")
    options = p.parse_args(arguments)
    where, runs = options.where, options.runs
    local = records.load(str(runs), None)
    offline = frozenset(path.parent.parent.parent.name for path in runs.glob("*/wandb/*run-*/run-*.wandb"))
    other = wandb_api.load_fresh(where) if where else wandb_offline.load(str(runs), None)
    findings = compare(local, other, offline)
    for finding in findings:
        print(finding)
    for line in dict.fromkeys(mend(finding, where, runs) for finding in findings):
        print(f"mend: {line}")
    place = f"wandb:{where}" if where else "the W&B files"
    agree = len(local.runs) - len({finding.identity for finding in findings} & set(local.runs["identity"]))
    going_on = int((local.runs["state"] == "running").sum())
    rest = f", {going_on} still running and not compared" if going_on else ""
    print(
        f"{agree - going_on} of {len(local.runs)} records agree with {place}, {len(findings)} findings{rest}"
    )
    return 1 if findings else 0
