"""`python -m reports audit [ENTITY/PROJECT]`: do the records and W&B say the same, and if not, what mends it?

Without ENTITY/PROJECT the records are compared with the W&B files in the runs folder. Runs that are still going on
are not compared, and said so. What is on W&B and has no record here is no disagreement: a colleague's runs of ours,
and runs of other programs, are counted and left alone. No line that is printed deletes anything.
Exit code 0: they agree; 1: they do not; 2: bad input.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_module.support.command_line import RUNS, Parser, command, folder
from lightning_module.support.text import counted, visible
from reports.choose import sweeps_in
from reports.compare import MENDED_BY_SYNC, Finding, compare, undeclared, without_record
from reports.sources import Frames, records, wandb_api, wandb_offline
from reports.sources._wandb_client import place


def main(arguments: Sequence[str]) -> int:
    """Compare, and print the findings with what mends them; the exit code. arguments: those after `audit`."""
    p = Parser(command("audit"), description="Compares the records with W&B.")
    p.add_argument("where", nargs="?", default="", metavar="ENTITY/PROJECT", help="default: the files here")
    p.add_argument("--runs", type=folder, default=RUNS, metavar="FOLDER", help="default: runs")
    options = p.parse_args(arguments)
    where, runs = options.where, options.runs
    if where:
        place(where, "")
    local = records.load(str(runs), None)
    if where:
        with_files = frozenset(path.parents[2].name for path in runs.glob("*/wandb/*run-*/run-*.wandb"))
        other, offline = wandb_api.load_fresh(where), with_files
    else:
        other, offline = wandb_offline.load(str(runs), None), frozenset[str]()
    disagree = compare(local, other, offline, "on W&B" if where else "in the W&B files")
    findings = disagree + (undeclared(local, other, sweeps_in(runs)) if where else [])
    for finding in findings:
        print(finding)
    for line in dict.fromkeys(mend(finding, where, runs) for finding in findings):
        print(f"mend: {line}")
    for line in left_alone(local, other, where, runs):
        print(line)
    source = f"wandb:{where}" if where else "the W&B files"
    going_on = int((local.runs["state"] == "running").sum())
    agree = len(local.runs) - len(disagree) - going_on
    rest = f", {going_on} still running and not compared" if going_on else ""
    count = counted(len(findings), "finding")
    print(f"{agree} of {len(local.runs)} records agree with {source}, {count}{rest}")
    return 1 if findings else 0


def mend(finding: Finding, where: str, runs: Path) -> str:
    """What mends a finding; where: ENTITY/PROJECT, "" for the files in the runs folder."""
    if finding.kind in MENDED_BY_SYNC:
        return command("sync", where or "ENTITY/PROJECT", runs=runs)
    run = finding.url or finding.identity
    if finding.kind == "duplicate":
        return f"look at the runs of {finding.identity}; reports take {run} alone, so nothing needs to go"
    if finding.kind == "added":
        return f"take the key out of the configuration of {run} on W&B"
    return f"restore the record, or move {runs / finding.identity} away and run the cell again"


def left_alone(local: Frames, other: Frames, where: str, runs: Path) -> list[str]:
    """What is on W&B and not compared, a line for each kind."""
    lines = []
    if names := without_record(local, other):
        shown = ", ".join(names[:3]) + (", ..." if names[3:] else "")
        source = f"wandb:{where}" if where else "wandb-offline"
        report = command("report", "NAME", "--source", source, runs=runs)
        count = "1 run of ours has" if len(names) == 1 else f"{len(names)} runs of ours have"
        lines.append(visible(f"{count} no record here ({shown}); report from W&B:  {report}"))
    if other.foreign:
        runs_are = "1 other run" if other.foreign == 1 else f"{other.foreign} other runs"
        lines.append(f"{runs_are} in the project: left alone")
    return lines
