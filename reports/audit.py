"""`python -m reports audit [ENTITY/PROJECT]`: do the records and W&B say the same, and if not, what mends it?

Without ENTITY/PROJECT the records are compared with the W&B files in the runs folder. Exit code 0: they
agree; 1: they do not; 2: bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ablations.cell import ConfigError
from reports.sources import HISTORY_COLUMNS, RUN_COLUMNS, Frames, is_config

Kind = Literal["missing", "not synced", "stale", "different", "extra", "duplicate"]
MENDED_BY_SYNC: tuple[Kind, ...] = ("missing", "not synced", "stale", "different")


@dataclass(frozen=True)
class Finding:
    """One thing in which records and W&B disagree. identity: the run's name on W&B."""

    kind: Kind
    identity: str
    name: str
    text: str


def compare(local: Frames, other: Frames, offline: frozenset[str] = frozenset()) -> list[Finding]:
    """What `other` (W&B) lacks or has otherwise than `local` (the records); running ones are left out.

    offline: runs with W&B files in the runs folder, whose absence on the server means "not yet synced".
    """
    mine, theirs = _by_run(local), _by_run(other)
    wrong, twins = _values(local, other), _twins(other)
    found: list[Finding] = []
    for identity, run in mine.items():
        if run["state"] in ("running", "damaged"):
            continue
        there = theirs.get(identity)
        if there is None and identity in offline:
            found.append(
                Finding("not synced", identity, run["name"], "its W&B file is not on the server yet")
            )
        elif there is None:
            found.append(Finding("missing", identity, run["name"], "a record, but no run on W&B"))
        elif differs := [key for key in ("state", "epoch", "attempts") if run[key] != there[key]]:
            facts = [f"{key} {run[key]} in the record, {there[key]} on W&B" for key in differs]
            found.append(Finding("stale", identity, run["name"], "; ".join(facts)))
        elif identity in wrong:
            found.append(Finding("different", identity, run["name"], wrong[identity]))
    for identity, run in theirs.items():
        if identity in twins and identity not in mine:
            text = f"the same cell as run {twins[identity]}"
            found.append(Finding("duplicate", identity, run["name"], text))
        elif identity not in mine:
            found.append(Finding("extra", identity, run["name"], "a run on W&B, but no record here"))
    return found


def _by_run(frames: Frames) -> dict[str, dict[str, Any]]:
    """Identity -> the row of the runs frame."""
    rows: list[dict[Any, Any]] = frames.runs[list(RUN_COLUMNS)].to_dict("records")
    return {row["identity"]: row for row in rows}


def _values(local: Frames, other: Frames) -> dict[str, str]:
    """identity -> the first value in which the histories differ, and how many more do."""
    keys = list(HISTORY_COLUMNS[:2])
    columns = sorted((set(local.history.columns) | set(other.history.columns)) - set(keys))
    frames = [f.history.astype({"identity": object}).reindex(columns=keys + columns) for f in (local, other)]
    both = frames[0].merge(frames[1], on=keys, how="outer", suffixes=("", " on W&B"), sort=True)
    texts: dict[str, list[str]] = {}
    for column in columns:
        a, b = both[column], both[f"{column} on W&B"]
        for row in both[(a != b) & ~(a.isna() & b.isna())].itertuples(index=False, name=None):
            line = dict(zip(both.columns, row, strict=True))
            values = f"{line[column]!r} in the record, {line[f'{column} on W&B']!r} on W&B"
            texts.setdefault(line["identity"], []).append(f"{column} at epoch {line['epoch']:.0f}: {values}")
    return {
        name: lines[0] + (f" and {len(lines) - 1} more" if lines[1:] else "") for name, lines in texts.items()
    }


def _twins(frames: Frames) -> dict[str, str]:
    """Run -> another run with the same configuration, the one whose name sorts first."""
    configs = frames.runs[[column for column in frames.runs.columns if is_config(column)]]
    first: dict[tuple[object, ...], str] = {}
    twins: dict[str, str] = {}
    for identity, config in zip(
        frames.runs["identity"], configs.itertuples(index=False, name=None), strict=True
    ):
        other = first.setdefault(config, identity)
        if other != identity:
            twins |= {identity: other, other: identity}
    return twins


def mend(finding: Finding, where: str, runs: Path) -> str:
    """The command that mends a finding; where: ENTITY/PROJECT, "" for the files in the runs folder."""
    folder = "" if runs == Path("runs") else f" --runs {runs}"
    if finding.kind in MENDED_BY_SYNC:
        return f"python -m reports sync {where or 'ENTITY/PROJECT'}{folder}"
    path = f"{where}/{finding.identity}"
    if finding.kind == "duplicate":
        return f"python -c \"import wandb; wandb.Api().run('{path}').delete()\""
    return f"copy its run folder to {runs / finding.identity}, or report from W&B: --source wandb:{where}"


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    p = argparse.ArgumentParser("python -m reports audit", description="Compares the records with W&B.")
    p.add_argument("where", nargs="?", default="", metavar="ENTITY/PROJECT", help="default: the files here")
    p.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="default: runs")
    options = p.parse_args(arguments)
    try:
        return run(options.where, options.runs)
    except ConfigError as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2


def run(where: str, runs: Path) -> int:
    """Compare, and print what was found with what mends it."""
    from reports.sources import records, wandb_api, wandb_offline

    local = records.load(str(runs), None)
    offline = frozenset(path.parent.parent.parent.name for path in runs.glob("*/wandb/*run-*/run-*.wandb"))
    other = wandb_api.load(where, None, fresh=True) if where else wandb_offline.load(str(runs), None)
    found = compare(local, other, offline)
    for finding in found:
        print(f"{finding.kind:<11}{finding.identity}  {finding.name}: {finding.text}")
    for command in dict.fromkeys(mend(finding, where, runs) for finding in found):
        print(f"mend: {command}")
    place = f"wandb:{where}" if where else "the W&B files"
    agree = len(local.runs) - len({finding.identity for finding in found} & set(local.runs["identity"]))
    print(f"{agree} of {len(local.runs)} records agree with {place}, {len(found)} findings")
    return 1 if found else 0
