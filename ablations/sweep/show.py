"""What `python -m ablations` prints: cells with cost and state, as rows of data first and as text from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.sweep import estimate
from ablations.sweep.manifest import Manifest
from ablations.sweep.plan import ACTIONS, Sweep
from lightning_module.cell import price, record
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import CONTENT, Cell, difference
from lightning_module.support.errors import spelled
from lightning_module.support.text import aligned

MEBI = 2**20
TO_RUN = ("run", "resume", "retry")


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a plan. memory: bytes of activations per device; hours: of devices, from start to end.

    action: see ACTIONS of plan.py. measured: whether the hours come from runs of this very network. damage: of its
    record, a sentence that names file and line.
    """

    cell: Cell
    state: str
    action: str
    memory: int
    hours: float
    measured: bool
    damage: str = ""

    def to_json(self) -> dict[str, Any]:
        """The cell as an entry of the JSON plan; times in hours, memory in bytes."""
        return self.cell.to_json() | {
            "state": self.state,
            "action": self.action,
            "activation_bytes": self.memory,
            "expected_device_hours": self.hours,
            "expected_from": "this network, measured" if self.measured else "scaled or assumed",
            "damage": self.damage,
        }


def planned_cells(sweep: Sweep, speed: estimate.Speed) -> list[PlannedCell]:
    """Every cell of a sweep with its cost and state."""
    planned = []
    states = record.read_states(sweep.runs, (cell.identity for cell in sweep.cells))
    for cell in sweep.cells:
        config, told, state = parse_config(cell.config), cell.to_json(), states[cell.identity]
        devices = config.trainer.processes
        memory = price.of(config).activation_bytes * config.recipe.batch_size // devices
        hours, measured = speed.hours(told, devices), speed.is_measured(told, devices)
        damage = record.read(sweep.runs / cell.identity).damage if state == "damaged" else ""
        planned.append(PlannedCell(cell, state, ACTIONS[state], memory, hours, measured, damage))
    return planned


def totals(plan: Sequence[PlannedCell], excluded: int) -> dict[str, Any]:
    """Numbers of cells by state, and hours in all and still to run."""
    left = [row for row in plan if row.action in TO_RUN]
    return {
        "cells": len(plan),
        "states": dict(Counter(row.state for row in plan)),
        "to_run": len(left),
        "excluded": excluded,
        "expected_device_hours": sum(row.hours for row in plan),
        "expected_device_hours_to_run": sum(row.hours for row in left),
    }


def plan_json(sweep: Sweep, plan: Sequence[PlannedCell], speed: estimate.Speed) -> str:
    """The plan for a program."""
    manifest = sweep.manifest
    told = {
        "name": manifest.name,
        "study": manifest.study,
        "factors": manifest.factors,
        "narrowed": manifest.narrowed,
        "departures": manifest.departures,
        "device": speed.kind,
        "expected_from": speed.source,
        "cells": [row.to_json() for row in plan],
        "excluded": manifest.excluded,
        "totals": totals(plan, len(manifest.excluded)),
        "command": manifest.command,
    }
    return json.dumps(told, indent=1)


def plan_text(sweep: Sweep, plan: Sequence[PlannedCell], speed: estimate.Speed, each: bool) -> str:
    """The plan for a reader: one line per network and seeds, or with `each` per cell."""
    manifest = sweep.manifest
    unit = speed.kind.upper()
    head = ("cell", "parameters", "multiply-adds", "activations", f"{unit} time", "state")
    groups: dict[Any, list[PlannedCell]] = {}
    for index, row in enumerate(plan):
        rest = repr(row.cell.canonical | {"seed": None})
        groups.setdefault(index if each else rest, []).append(row)
    lines = [head, *(_line(group, each) for group in groups.values())]
    text = [*aligned(lines, right={1, 2, 3, 4}), ""]
    count = totals(plan, len(manifest.excluded))
    text.append(
        f"{count['cells']} cells, {hours(count['expected_device_hours'])} of {unit} time; "
        f"would run {count['to_run']}, {hours(count['expected_device_hours_to_run'])}"
    )
    text.append(f"{unit} time: {speed.source}.")
    if manifest.narrowed:
        text.append(f"A part of the study: {' '.join(manifest.narrowed)}")
    text += departures(manifest)
    text += _excluded(manifest)
    text += [f"{row.cell.name}: {row.damage}" for row in plan if row.damage]
    return "\n".join(text)


def _line(group: Sequence[PlannedCell], each: bool) -> tuple[str, ...]:
    row = group[0]
    seeds = [other.cell.config["seed"] for other in group]
    name = row.cell.name if each else row.cell.name.replace(f"seed {seeds[0]}", f"seed {spans(seeds)}", 1)
    states = Counter(other.state for other in group)
    words = ", ".join(states) if len(states) == 1 else ", ".join(f"{n} {word}" for word, n in states.items())
    cell = row.cell
    return (
        name,
        f"{cell.parameters / 1e6:.2f} M",
        f"{cell.multiply_adds / 1e6:,.1f} M",
        f"{row.memory / MEBI:,.0f} MiB",
        ("" if row.measured else "~") + hours(row.hours) + ("" if len(group) == 1 else f" x {len(group)}"),
        words,
    )


def departures(manifest: Manifest) -> list[str]:
    """How the cells are not the study's own, by key."""
    if not manifest.departures:
        return []
    pairs = [(item["key"], _listed(item["here"]), _listed(item["study"])) for item in manifest.departures]
    return ["Not the study's own:", *(f"  {key}: {here} instead of {study}" for key, here, study in pairs)]


def _listed(values: Iterable[Any]) -> str:
    return ", ".join("nothing" if value is None else str(value) for value in values)


def _excluded(manifest: Manifest) -> list[str]:
    """Each reason once, with the combinations that it rules out."""
    reasons: dict[str, list[str]] = {}
    for item in manifest.excluded:
        own = [text for text in item["overrides"] if not text.startswith(("ablation=", "seed="))]
        reasons.setdefault(item["reason"], []).append(" ".join(own))
    if not reasons:
        return []
    text = [f"{len(manifest.excluded)} combinations are impossible:"]
    for reason, combinations in reasons.items():
        text.append(f"  {reason}")
        text += [f"    {combination}" for combination in dict.fromkeys(combinations)]
    return text


def hours(value: float) -> str:
    """A time given in hours, in a unit and digits that one can compare."""
    number, unit = next(
        ((value * n, u) for n, u in ((1, "h"), (60, "min")) if value * n >= 1), (value * 3600, "s")
    )
    return f"{number:,.1f} {unit}"


def spans(numbers: Iterable[int]) -> str:
    """[0, 1, 2, 5] -> "0-2, 5"."""
    ends: list[list[int]] = []
    for number in sorted(numbers):
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ends)


def difference_text(a: tuple[str, Mapping[str, Any]], b: tuple[str, Mapping[str, Any]]) -> str:
    """What differs between two named canonical configurations."""
    differing = difference(a[1], b[1])
    if not differing:
        return f"{a[0]} and {b[0]} are the same cell."
    lines = [
        ("key", a[0], b[0]),
        *((key, *("–" if v is None else spelled(v) for v in pair)) for key, pair in differing.items()),
    ]
    family, changed = a[1].get("model.family"), "model.code" in differing and "model.family" not in differing
    said = [f"The code of {family} changed."] if changed else []
    if CONTENT in differing and None not in differing[CONTENT]:
        said.append("The images or labels are others.")
    return "\n".join([*aligned(lines), *said])
