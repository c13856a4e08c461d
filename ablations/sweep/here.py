"""Run a sweep on this machine: what it checks and prints, and its cells, here one after another (see also pool)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ablations.sweep.plan import ACTIONS, Sweep, announce
from ablations.sweep.pool import run_pool, train_one
from ablations.sweep.preflight import check_data, check_records
from lightning_module.cell import record
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import Cell
from lightning_module.cell.record import Record
from lightning_module.support.command_line import command
from lightning_module.support.errors import ConfigError
from lightning_module.support.text import aligned, visible
from lightning_module.training.interruption import Interruption

PROCESS_BYTES = 300 * 2**20
"""Memory of a process that has imported PyTorch and Lightning, before it has a network."""

PARAMETER_BYTES = 12
"""Memory of a parameter in training: itself, its gradient and its momentum."""


def run_sweep(sweep: Sweep, jobs: int = 1) -> list[Record]:
    """Run what is left of a sweep, `jobs` cells at a time, and return the records of all its cells.

    Ends with SystemExit 1 if a cell has no result and is not being run by another process; see also run_cells.
    """
    records = run_cells(sweep, jobs)
    print(f"Report:  {command('report', sweep.manifest.name, runs=sweep.runs)}")
    if any(known.state not in (*record.FINAL, "running") for known in records):
        raise SystemExit(1)
    return records


def run_cells(sweep: Sweep, jobs: int = 1) -> list[Record]:
    """Run what is left of these cells of a sweep, and say what came out.

    A cell that fails does not stop the others. Ends with SystemExit 128 + its number after a signal to stop, which
    saves a checkpoint first.
    """
    records = {cell.identity: record.read(sweep.runs / cell.identity) for cell in sweep.cells}
    check_records(records.values())
    todo = [
        cell for cell in sweep.cells if ACTIONS[records[cell.identity].state] in ("run", "resume", "retry")
    ]
    if todo:
        check_machine(todo, jobs)
    check_data(todo)
    announce(sweep, device_kind(todo[0]) if todo else "cpu")
    _print_counts(sweep, records, todo)
    interruption = Interruption()
    if jobs > 1 and todo:
        records |= run_pool(todo, sweep.runs, min(jobs, len(todo)), interruption)
        todo = []
    for number, cell in enumerate(todo, start=1):
        folder, action = sweep.runs / cell.identity, ACTIONS[records[cell.identity].state]
        print(f"[{number}/{len(todo)}] {cell.name}: {action}  {folder}", flush=True)
        train_one(cell, interruption)
        records[cell.identity] = record.read(folder)
        if interruption:
            break
    for identity, known in records.items():
        if known.state not in record.FINAL:  # another process may have gone on with it
            records[identity] = record.read(sweep.runs / identity)
    _print_results(sweep, records)
    if interruption:
        print(f"Interrupted; the same command goes on from there:  {sweep.manifest.command}")
        raise SystemExit(interruption.exit_code)
    for cell in sweep.cells if jobs > 1 else []:
        log = sweep.runs / cell.identity / "output.log"
        if records[cell.identity].state not in (*record.FINAL, "running") and log.exists():
            print(f"{cell.name} has no result; its output:  {log}")
    return [records[cell.identity] for cell in sweep.cells]


def device_kind(cell: Cell) -> str:
    """What a cell runs on here: "gpu" or "cpu"."""
    import torch

    on_gpu = cell.config["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available()
    return "gpu" if on_gpu else "cpu"


def check_machine(cells: Sequence[Cell], jobs: int = 1) -> None:
    """ConfigError if this machine lacks the devices that these cells ask for, so many at a time."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cores, memory = len(os.sched_getaffinity(0)), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    largest = max(cells, key=lambda cell: cell.parameters)
    if largest.parameters * PARAMETER_BYTES > memory:
        raise ConfigError(
            f"{largest.name} has {largest.parameters:,} parameters; with their gradients and momentum they do not fit "
            f"into this machine's memory, which takes {memory // PARAMETER_BYTES:,}"
        )
    for trainer in dict.fromkeys(parse_config(cell.config).trainer for cell in cells):
        if trainer.nodes > 1:
            raise ConfigError(
                f"trainer.nodes={trainer.nodes} needs hydra/launcher=slurm; on this machine it is 1"
            )
        if trainer.threads > cores:
            raise ConfigError(
                f"trainer.threads={trainer.threads}, but this machine has {cores} cores for it; "
                f"use at most {cores}, or 0 for PyTorch's choice"
            )
        if jobs * trainer.devices * PROCESS_BYTES > memory:
            times = f"hydra.launcher.jobs={jobs} x " if jobs > 1 else ""
            raise ConfigError(
                f"{times}trainer.devices={trainer.devices} processes do not fit into this machine's memory; "
                f"use at most {memory // PROCESS_BYTES}"
            )
        if trainer.accelerator == "gpu" and not gpus:
            raise ConfigError(
                f"trainer.accelerator=gpu, but PyTorch {torch.__version__} finds no GPU here; "
                "use trainer.accelerator=auto or cpu"
            )
        if trainer.accelerator != "cpu" and gpus and trainer.devices > gpus:
            raise ConfigError(
                f"trainer.devices={trainer.devices}, but this machine has {gpus} GPUs; "
                f"use at most {gpus}, or trainer.accelerator=cpu"
            )


def _print_counts(sweep: Sweep, records: dict[str, Record], todo: list[Cell]) -> None:
    """How much there is to do, and what is left out or left alone."""
    done = sum(known.state in record.FINAL for known in records.values())
    excluded = sweep.manifest.excluded
    cells = "1 cell" if len(sweep.cells) == 1 else f"{len(sweep.cells)} cells"
    print(
        f"{sweep.manifest.name}: {cells}, {done} finished before, {len(todo)} to train"
        + (f", {len(excluded)} impossible combinations left out" if excluded else "")
    )
    for item in excluded:
        print(f"  left out: {item['reason']}")
    for cell in sweep.cells:
        known = records[cell.identity]
        if known.state == "running":
            print(f"  {cell.name}: another process is training it; left to it")
        if known.damage:
            print(visible(f"  {cell.name}: {known.damage}"))


def _print_results(sweep: Sweep, records: dict[str, Record]) -> None:
    """A table of states, errors or speeds, and times."""
    errors = {"test error": ("test/error", "{:.2f} %"), "train error": ("train/error", "{:.2f} %")}
    speeds = {"ms per step": ("step_ms", "{:.3f}"), "images/s": ("images_per_second", "{:,.0f}")}
    lasts = [records[cell.identity].last for cell in sweep.cells]
    trained, timed = (any(key in last for last in lasts) for key in ("test/error", "step_ms"))
    shown = (errors if trained or not timed else {}) | (speeds if timed else {})
    rows: list[tuple[str, ...]] = [("cell", "state", *shown, "time", "run")]
    for cell, last in zip(sweep.cells, lasts, strict=True):
        known = records[cell.identity]
        values = [text.format(last[key]) if key in last else "–" for key, text in shown.values()]
        seconds = sum(epoch["seconds"] for epoch in known.epochs)
        took = time.strftime("%H:%M:%S", time.gmtime(seconds)) if known.epochs else "–"
        state = known.state + " *" * bool(record.rate_departure(known.events))
        rows.append((cell.name, state, *values, took, cell.identity))
    print("", *aligned(rows), sep="\n")
    for cell in sweep.cells:
        if reason := records[cell.identity].status.get("error"):
            print(visible(f"{cell.name}: {reason}"))
        if said := record.rate_departure(records[cell.identity].events):
            print(f"* {cell.name}: {said}")
    print()
