"""The Hydra launcher `slurm`: plan, check, submit, return. With wait=true it follows to the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from ablations.sweep.plan import Sweep
    from lightning_module.cell.identity import Cell
    from slurm.options import Options

REFRESH = 10.0
"""Seconds between looks at the queue; each is two scheduler calls."""


class SlurmLauncher(Launcher):
    """Everything is checked before the first sbatch; cells that are done, queued or running are left out."""

    __module__ = "hydra_plugins.residual_ablations"  # where Hydra looks for it

    asked: Sweep
    """What to run; set by the sweeper."""

    def __init__(self, **parameters: Any) -> None:
        self.parameters = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in parameters.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing to prepare: cells are composed by ablations.sweep.plan."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the cells; with wait=true, SystemExit 1 if one of them failed. Nobody reads what Hydra gets back."""
        from lightning_module.support.errors import ConfigError
        from slurm.cluster import SlurmError
        from slurm.options import parse_options

        options = parse_options(self.parameters)
        try:
            submit_sweep(self.asked, options)
        except SlurmError as error:
            raise ConfigError(str(error)) from error
        return []


def for_cluster(cell: Cell, gpus: bool) -> Cell:
    """A cell that any node can train: absolute paths, `accelerator=auto` decided by the partition."""
    config = dict(cell.config)
    config["runs"] = str(Path(config["runs"]).absolute())
    if "root" in config["data"]:
        config["data"] = {**config["data"], "root": str(Path(config["data"]["root"]).expanduser().absolute())}
    if config["trainer"]["accelerator"] == "auto":
        config["trainer"] = {**config["trainer"], "accelerator": "gpu" if gpus else "cpu"}
    return replace(cell, config=config)


def submit_sweep(sweep: Sweep, options: Options) -> None:
    """Submit what is left of a sweep, say so, and follow it if asked to."""
    from ablations.sweep.here import check_data, check_records
    from ablations.sweep.plan import announce, decide
    from lightning_module.cell import record
    from lightning_module.support.errors import ConfigError
    from slurm import cluster
    from slurm.submit import submit

    runs, name = sweep.runs.absolute(), sweep.manifest.name
    options.check_cells([cell.config for cell in sweep.cells])
    site = cluster.site()
    todo, done = [], 0
    for cell in sweep.cells:
        limits = site.limits(options.of(cell.config).partition)
        found = record.read(runs / cell.identity)
        check_records([found])
        if decide(found) in ("run", "resume", "retry"):
            todo.append(for_cluster(cell, limits.gpus > 0))
        elif found.damage:
            print(f"  {cell.name}: {found.damage}")
        else:
            done += found.state in record.FINAL
    check_data(todo)  # also downloads what is missing: compute nodes are often offline
    try:
        # Before the jobs: reports must know what runs, whatever happens here.
        announce(sweep, todo[0].config["trainer"]["accelerator"] if todo else "gpu")
    except OSError as error:
        raise ConfigError(f"runs={runs} is not a folder one can write to ({error.strerror})") from error
    arrays, there = submit(todo, runs, options, name, site)
    submitted = sum(array.cells for array in arrays)
    print(
        f"{name}: {len(sweep.cells)} cell{'s' * (len(sweep.cells) != 1)}, {done} finished before, "
        f"{len(there)} queued or running, {submitted} submitted"
    )
    for item in sweep.manifest.excluded:
        print(f"  left out: {item['reason']}")
    for array in arrays:
        print(f"  job {array.job}: {array.cells} cell{'s' * (array.cells != 1)}, {array.needs}")
    where = "" if sweep.runs == Path("runs") else f" --runs {sweep.runs}"
    print(f"Follow:  python -m slurm status {name}{where} --watch   (also: logs CELL, cancel, retry)")
    print(f"Report:  python -m reports {name}{where}")
    if options.wait:
        follow(runs, [name])


def follow(runs: Path, names: Sequence[str], seconds: float = REFRESH) -> None:
    """Show the live table until nothing is queued or running; SystemExit 1 if a cell has no result."""
    from slurm import status
    from slurm.cluster import SlurmError

    live, told = status.Live(), False
    while True:
        try:
            rows = status.survey(runs, names)
        except SlurmError as error:  # a controller that restarts is no reason to leave
            print(error, file=sys.stderr)
            time.sleep(seconds)
            continue
        over = not any(row.state in status.OPEN for row in rows)
        if live.terminal and not over:
            live.show(status.table(rows, runs))
        elif over or not told:
            print(status.table(rows, runs), flush=True)
            told = True
        if over:
            break
        time.sleep(seconds)
    if any(row.state not in ("finished", "diverged") for row in rows):
        raise SystemExit(1)
