"""Synthetic runs with the program's own writers: every state, cheap, the same every time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from ablations.sweep.manifest import Manifest, write
from lightning_module.cell import record
from lightning_module.cell.identity import Cell

PROVENANCE = {
    "commit": "e1b38ab0c0ffee",
    "dirty": False,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "pytorch-lightning": "2.6.6"},
    "hardware": {"device": "cpu", "threads": 2},
}


def make_cell(depth: int = 20, shortcut: str = "A", seed: int = 0, **more: Any) -> Cell:
    """A cell as the trainer would compose it; `more` are further keys, "__" for "."."""
    overrides = {"model.depth": depth, "model.shortcut": shortcut, "seed": seed}
    overrides |= {key.replace("__", "."): value for key, value in more.items()}
    flat = {
        "model.form": "cifar", "model.block": "basic", "model.width": 16,
        "data.name": "digits", "data.padding": 1,
        "recipe.batch_size": 64, "recipe.steps": 400, "recipe.drops": [240, 340], "recipe.learning_rate": 0.1,
        "trainer.precision": "32",
        **overrides,
    }  # fmt: skip
    config: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    name = f"{'plain' if shortcut == 'none' else 'ResNet'}-{depth} {shortcut} seed {seed}"
    units = (depth - 2) // 6
    parameters = 97_000 * units - 20_000 + (2_752 if shortcut == "B" else 0)
    text = tuple(f"{key}={value}".replace(" ", "") for key, value in overrides.items())
    return Cell(config, text, name, parameters, 14_000_000 * units)


def final_error(depth: int, shortcut: str, seed: int) -> float:
    """A plausible test error in percent."""
    noise = random.Random(f"{depth} {shortcut} {seed}").gauss(0, 0.18)
    shared = random.Random(f"{seed}").gauss(0, 0.15)
    plain = {"none": 0.05 * depth - 0.4, "B": -0.35, "C": -0.45}.get(shortcut, 0.0)
    return max(9.4 - 1.15 * math.log2(depth / 16) + plain + noise + shared, 0.3)


def train(
    runs: Path,
    cell: Cell,
    error: float | None = None,
    state: str = "finished",
    epochs: int = 18,
    **status: Any,
) -> None:
    """Write the record of a cell that ended in this state: finished, diverged, failed or killed."""
    with mock.patch("os.fsync"):  # thousands of lines, none worth waiting for
        _train(runs, cell, error, state, epochs, **status)


def _train(runs: Path, cell: Cell, error: float | None, state: str, epochs: int, **status: Any) -> None:
    config = cell.config
    depth, seed = config["model"]["depth"], config["seed"]
    final = final_error(depth, config["model"]["shortcut"], seed) if error is None else error
    writer = record.Writer(runs / cell.identity, _prepared(runs, cell))
    writer.start(0, PROVENANCE)
    done, steps = epochs if state == "finished" else epochs // 2, config["recipe"]["steps"]
    noise = random.Random(cell.identity)
    for epoch in range(1, done + 1):
        step = round(steps * epoch / epochs)
        drop = (step > 0.6 * steps) + (step > 0.85 * steps)
        base = 70 * math.exp(-4.5 * epoch / epochs) + (3.2, 0.5, 0.0)[drop]
        last = epoch == epochs
        test = final + (0 if last else base + noise.gauss(0, (0.9, 0.15, 0.05)[drop]) * (1 + base / 20))
        bad = state == "diverged" and epoch == done
        writer.epoch(
            epoch,
            step,
            {
                "train/loss": math.nan if bad else test / 30,
                "train/error": max(test * 0.8 - 2.5, 0.02),
                "test/error": 90.0 if bad else max(test, 0.0),
                "learning_rate": 0.1 * 0.1**drop,
                "seconds": 0.02 * depth,
                "images_per_second": 52_000 / depth,
            },
        )
    responses = [[f"layer {i}", 1.2 / math.sqrt(i) * (0.6 if depth > 50 else 1)] for i in range(1, depth)]
    if state == "finished":
        writer.event("layer_responses", step=steps, responses=responses)
    if state in ("finished", "diverged", "failed"):
        writer.finish(state, step, **status)  # type: ignore[arg-type]
    writer.close()


def _prepared(runs: Path, cell: Cell) -> Cell:
    (runs / cell.identity).mkdir(parents=True, exist_ok=True)
    return cell


def manifest(
    runs: Path,
    name: str,
    cells: Iterable[Cell],
    factors: Iterable[str],
    study: str | None = None,
    **more: Any,
) -> Manifest:
    """Write and return the manifest of these cells."""
    fields: dict[str, Any] = {
        "overrides": (),
        "excluded": (),
        "command": f"python run.py -m ablation={name}",
    } | more
    made = Manifest(
        name=name, study=study, factors=tuple(factors), cells=tuple(c.to_json() for c in cells), **fields
    )
    write(runs, made)
    return made


def sweep(
    runs: Path,
    depths: Iterable[int] = (20, 56, 110),
    shortcuts: Iterable[str] = ("A", "B", "none"),
    seeds: Iterable[int] = range(5),
    states: Mapping[tuple[int, str, int], Callable[[Path, Cell], None] | str] = {},
    name: str = "depth_20_56_110",
) -> Manifest:
    """A grid; `states` replaces "finished" for some (depth, shortcut, seed); "planned" writes nothing."""
    cells = []
    seeds = list(seeds)
    for depth in depths:
        for shortcut in shortcuts:
            for seed in seeds:
                cell = make_cell(depth, shortcut, seed)
                cells.append(cell)
                state = states.get((depth, shortcut, seed), "finished")
                if callable(state):
                    state(runs, cell)
                elif state != "planned":
                    reason = {
                        "failed": "RuntimeError: out of memory",
                        "diverged": "train/loss is nan at step 200",
                    }
                    train(runs, cell, state=state, **({"reason": reason[state]} if state in reason else {}))
    return manifest(runs, name, cells, ("model.depth", "model.shortcut", "seed"))
