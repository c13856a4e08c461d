"""Run a study in rounds on this machine until its claims are settled: decide, write it down, run, decide again.

What is decided is in rounds.py; a launcher that runs cells elsewhere begins with `stands` and `announced`, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ablations.sweep import estimate, studies
from ablations.sweep import manifest as manifests
from ablations.sweep.here import check_machine, device_kind, run_cells, run_sweep
from ablations.sweep.plan import Sweep, announce, expected_hours
from ablations.sweep.preflight import check_records
from ablations.sweep.rounds import Round, Standing, next_round, standing
from ablations.sweep.show import hours, spans
from lightning_module.cell import record
from lightning_module.support.command_line import command
from lightning_module.support.errors import ConfigError
from lightning_module.support.text import counted


def run_here(sweep: Sweep, jobs: int = 1) -> None:
    """Run what somebody asked for on this machine: all of it, or as much as settles its claims."""
    if sweep.settle:
        settle(sweep, jobs)
    else:
        run_sweep(sweep, jobs)


def stands(sweep: Sweep, device: str, retry: bool = False) -> Standing:
    """Where a sweep stands, by its records and the rounds in its manifest.

    device: that hours are expected of ("gpu", "cpu", or as in estimate.of_device). retry: see Standing.
    """
    if sweep.manifest.study is None:
        raise ConfigError("settle=true has no effect; it needs the claims of a study, ablation=NAME")
    records = {cell.identity: record.read(sweep.runs / cell.identity) for cell in sweep.cells}
    check_records(records.values())
    before = manifests.earlier(sweep.runs, sweep.manifest.name)
    known = replace(sweep.manifest, rounds=before.rounds if before else ())
    study = studies.load(sweep.manifest.study)
    return standing(known, study, records, prices(sweep, device), sweep.budget, retry)


def prices(sweep: Sweep, device: str) -> dict[str, float]:
    """identity -> device-hours that a cell is expected to take from start to end."""
    speed = estimate.of_device(estimate.measured(sweep.runs), device)
    return {cell.identity: expected_hours(cell, speed) for cell in sweep.cells}


def announced(sweep: Sweep, made: Round, kind: str) -> Sweep:
    """The cells of a round, after it was written into the manifest of its sweep. kind: "gpu" or "cpu"."""
    before = manifests.earlier(sweep.runs, sweep.manifest.name)
    rounds = [each for each in (before.rounds if before else ()) if each["number"] < made.number]
    whole = replace(sweep, manifest=replace(sweep.manifest, rounds=(*rounds, made.to_json())))
    announce(whole, kind)
    return replace(whole, cells=tuple(cell for cell in sweep.cells if cell.identity in made.cells))


def settle(sweep: Sweep, jobs: int = 1) -> None:
    """Run rounds until no claim is open.

    Ends with SystemExit 1 if a cell has no result at the end; it is not tried again within this call. Interrupted, the
    same command goes on with the round that was begun.
    """
    check_machine(sweep.cells, jobs)
    kind, failed = device_kind(sweep.cells[0]), False
    now = stands(sweep, kind, retry=True)
    made = next_round(now)
    while not made.end:
        print("\n".join(told(made, now)), flush=True)
        records = run_cells(announced(sweep, made, kind), jobs)
        failed |= any(known.state not in (*record.FINAL, "running") for known in records)
        now, before = stands(sweep, kind), made
        made = next_round(now)
        if made.number == before.number:
            print("The same command goes on when the cells of this round have ended.")
            raise SystemExit(int(failed))
    announced(sweep, made, kind)
    print("\n".join(told(made, now)))
    print(f"Report:  {command('report', sweep.manifest.name, runs=sweep.runs)}")
    if failed:
        raise SystemExit(1)


def told(made: Round, now: Standing) -> Iterator[str]:
    """A round for a reader: what is open and which cells run, or how it ended."""
    used = hours(made.used) + (f" of {hours(made.budget)}" if made.budget else "")
    if made.end:
        yield f"Ended after {counted(made.number - 1, 'round')}: {made.end}"
    else:
        yield f"Round {made.number}: {len(made.open)} of {counted(len(made.claims), 'claim')} open"
    for step in made.claims:
        took = f" ({hours(step.hours)})" if step.hours else ""
        yield f"  {step.claim}: {step.state}; {step.said}{took}"
    if made.end:
        yield f"{used} used; all seeds would take {hours(made.whole)}"
        return
    seeds: dict[str, list[int]] = {}
    for each in now.results:
        if each.identity in made.cells:
            name = now.names[each.identity].replace(f" seed {each.levels['seed']}", "", 1)
            seeds.setdefault(name, []).append(int(each.levels["seed"]))
    yield "Runs: " + "; ".join(f"{name}, seed {spans(each)}" for name, each in seeds.items())
    yield f"{counted(len(made.cells), 'cell')}, {hours(made.expected)} expected, {used} used"
