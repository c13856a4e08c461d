"""From a request to its cells and its manifest, and from cells and records to what is left to do."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablations.sweep import estimate, studies
from ablations.sweep import manifest as manifests
from ablations.sweep.compose import compose, make_cell, resolved_overrides
from ablations.sweep.keys import groups
from ablations.sweep.manifest import Manifest, slug
from ablations.sweep.overrides import parse_overrides, plain_value
from ablations.sweep.request import Request, study_request
from ablations.sweep.results import own_data
from lightning_module.cell.identity import CONTENT, OF_CONTENT, Cell, canonical, difference, plain
from lightning_module.cell.record import FILE, State
from lightning_module.support.command_line import command
from lightning_module.support.errors import ConfigError


@dataclass(frozen=True)
class Sweep:
    """A request that has been composed, checked and costed: its cells and its manifest.

    settle, budget: see Request.
    """

    cells: tuple[Cell, ...]
    manifest: Manifest
    runs: Path
    settle: bool = False
    budget: float | None = None


def sweep(request: Request, command: Sequence[str]) -> Sweep:
    """Compose and check every cell of a request before any work.

    An impossible cell of a plain grid is an error; of a study, an exclusion with its reason. Cells that are
    the same run count once.
    """
    cells: dict[str, Cell] = {}
    own: dict[str, tuple[str, ...]] = {}
    excluded = []
    levels = []
    for index, overrides in enumerate(request.overrides):
        config = compose(overrides)  # a key that does not exist is an error in a study too
        try:
            cell = make_cell(config, resolved_overrides(overrides, config))
        except ConfigError as error:
            if request.study is None or len(request.overrides) == 1:
                raise
            excluded.append({"overrides": list(overrides), "reason": str(error)})
            continue
        levels.append((overrides, cell.identity))
        if cell.identity not in cells:
            cells[cell.identity] = cell
            own[cell.identity] = request.own[index] if request.own else ()
    if not cells:
        raise ConfigError(f"{' '.join(request.typed)} leaves no cell to run: {excluded[0]['reason']}")
    _check_levels(request.typed, levels)
    unique = named(tuple(cells.values()))
    typed = tuple(text for text in request.typed if not text.startswith("hydra"))
    manifest = Manifest(
        name=slug([text.removeprefix("ablation=") for text in identity_overrides(typed, unique)]),
        study=request.study,
        overrides=tuple(text for text in typed if not text.startswith("ablation=")),
        factors=_factors(request, unique),
        cells=tuple(cell.to_json() for cell in unique),
        excluded=tuple(excluded),
        command=shlex.join(command),
        narrowed=request.narrowed,
        studies=studies.absolute(str(unique[0].config["studies"])) if request.study in studies.OWN else "",
        departures=_departures(unique, [own[cell.identity] for cell in unique]) if request.study else (),
    )
    return Sweep(unique, manifest, Path(unique[0].config["runs"]), request.settle, request.budget)


def _check_levels(typed: Sequence[str], cells: Sequence[tuple[tuple[str, ...], str]]) -> None:
    """ConfigError for two values of a key, listed on the command line, with which the same cells are trained.

    cells: overrides and identity of each.
    """
    for one in parse_overrides(typed):
        key = str(one.key_or_group)
        if not one.is_sweep_override() or key == "ablation":
            continue
        trained: dict[str, set[str]] = {}
        for overrides, identity in cells:
            value = next(text for text in reversed(overrides) if text.startswith(f"{key}="))
            trained.setdefault(value, set()).add(identity)
        first: dict[frozenset[str], str] = {}
        for text, identities in trained.items():
            other = first.setdefault(frozenset(identities), text)
            if plain(plain_value(other)) != plain(plain_value(text)):
                raise ConfigError(
                    f"{one.input_line} lists several values, but {other} and {text} train the same cell; give it one"
                    + (", or mode=benchmark to compare their speed" if key.startswith("trainer") else "")
                )


def identity_overrides(typed: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    """The overrides that say what is trained: they make the sweep's name, and where and how fast is no part of it.

    Of the trainer those whose key is part of an identity, and a choice of the group without which the
    identities would be others.
    """
    kinds = {tuple(text for text in cell.overrides if text.startswith("trainer")): cell for cell in cells}
    counted = {key for cell in kinds.values() for key in cell.canonical} | {"trainer.precision"}
    if "trainer.batch_norm_devices" in counted:
        counted |= {"trainer.devices", "trainer.nodes", "trainer.sync_batch_norm"}

    def says(text: str) -> bool:
        key = text.partition("=")[0]
        if key == "trainer":
            return any(_matters(key, cell) for cell in kinds.values())
        return key in counted or key.partition(".")[0] not in ("runs", "studies", "logger", "trainer")

    return [text for text in typed if says(text)]


def _matters(group: str, cell: Cell) -> bool:
    """Whether the cell would be another without its choice of this group."""
    rest = [text for text in cell.overrides if text.partition("=")[0] != group]
    return canonical(compose(rest)) != cell.canonical


def named(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells with names that tell them apart.

    A name begins with network and seed, which say everything of `model`. What else the cells differ in is
    added to it: the choice of a group ("recipe=akamaster") or, where it says no more, the value of a key
    ("learning_rate=0.03").
    """
    chosen = [_choices(cell) for cell in cells]
    varying = [group for group in ("data", "recipe") if len({choices.get(group) for choices in chosen}) > 1]
    alike: dict[tuple[str | None, ...], list[Cell]] = {}
    for cell, choices in zip(cells, chosen, strict=True):
        alike.setdefault(tuple(choices.get(group) for group in varying), []).append(cell)
    keys = sorted(
        {
            key
            for same in alike.values()
            for key in _varying(same)
            if key != "seed" and not key.startswith("model.")
        }
    )
    renamed: list[Cell] = []
    for cell, choices in zip(cells, chosen, strict=True):
        words = [f"{group}={choices[group]}" for group in varying if group in choices]
        words += [
            f"{key.rpartition('.')[2]}={_word(cell.canonical[key])}" for key in keys if key in cell.canonical
        ]
        renamed.append(replace(cell, name=", ".join([cell.name, *words])))
    return _told_apart(renamed)


def _told_apart(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells; to names that are still alike whatever differs is added."""
    alike: dict[str, list[Cell]] = {}
    for cell in cells:
        alike.setdefault(cell.name, []).append(cell)
    differing = {name: _varying(same) for name, same in alike.items()}
    return tuple(
        replace(cell, name=", ".join([cell.name, *words]))
        if (words := [f"{key}={_word(cell.canonical.get(key))}" for key in differing[cell.name]])
        else cell
        for cell in cells
    )


def _choices(cell: Cell) -> dict[str, str]:
    """What its overrides choose of the groups; of `data` the name of the user's own, if it is that."""
    pairs = (text.partition("=") for text in cell.overrides)
    own = own_data(cell.overrides) if CONTENT in cell.canonical else None
    return {key: value for key, _, value in pairs if key in groups()} | ({"data": own} if own else {})


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "[" + ",".join(map(_word, value)) + "]"
    return str(value)


def _varying(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Keys in which cells differ from the first, in order of appearance; of other data the content says all."""
    found = dict.fromkeys(key for cell in cells[1:] for key in difference(cells[0].canonical, cell.canonical))
    return tuple(key for key in found if key not in OF_CONTENT or CONTENT not in found)


def _factors(request: Request, cells: Sequence[Cell]) -> tuple[str, ...]:
    """What the cells differ in: what the study or the command line names first, seeds last."""
    varying = _varying(cells)
    study = studies.load(request.study) if request.study else None
    if study:
        named = [key for key in (study.rows, study.columns) if key]
    else:
        named = [
            override.key_or_group
            for override in parse_overrides(request.typed)
            if override.is_sweep_override()
        ]
    order = [key for key in named if key in varying or study] + [key for key in varying if key not in named]
    usual = "model.depth" if "model.depth" in cells[0].canonical else "seed"
    return tuple(sorted(order, key=lambda key: key == "seed")) or (usual,)


def _departures(cells: Sequence[Cell], own: Sequence[tuple[str, ...]]) -> tuple[dict[str, Any], ...]:
    """Where the cells are not the study's own: key -> values that the study has, and values that stand there."""
    departures: dict[str, tuple[list[Any], list[Any]]] = {}
    composed = functools.cache(lambda overrides: canonical(compose(overrides)))
    for cell, overrides in zip(cells, own, strict=True):
        changed = {} if cell.overrides == overrides else difference(composed(overrides), cell.canonical)
        for key, pair in changed.items():
            for values, value in zip(departures.setdefault(key, ([], [])), pair, strict=True):
                if value not in values:
                    values.append(value)
    return tuple(
        {"key": key, "study": study, "here": here} for key, (study, here) in sorted(departures.items())
    )


def announce(sweep: Sweep, kind: str) -> Path:
    """Write the manifest of a sweep before its cells run, with the time that they are expected to take.

    kind: of the device, "gpu" or "cpu". ConfigError if the runs folder does not take it.
    """
    try:
        return manifests.write(sweep.runs, _with_expected(sweep, kind))
    except OSError as error:
        raise ConfigError(
            f"runs={sweep.runs} is not a folder one can write to ({error.strerror}); "
            "choose another with runs=FOLDER"
        ) from error


def _with_expected(sweep: Sweep, kind: str) -> Manifest:
    """A cell that ran before keeps what was expected of it then: from its own record anything can be predicted.

    What was decided in rounds stays, too, however the sweep is asked for again.
    """
    before = manifests.earlier(sweep.runs, sweep.manifest.name)
    expected = dict(before.expected) if before else {}
    source = before.expected_from if before else ""
    new = [cell for cell in sweep.cells if cell.identity not in expected]
    new = [cell for cell in new if not (sweep.runs / cell.identity / FILE).exists()]
    if new:
        speed = estimate.of_device(estimate.measured(sweep.runs), kind)
        source = speed.source
        for cell in new:
            expected[cell.identity] = expected_hours(cell, speed)
    declared = [cell["identity"] for cell in sweep.manifest.cells]
    kept = {name: expected[name] for name in declared if name in expected}
    rounds = sweep.manifest.rounds or (before.rounds if before else ())
    return replace(sweep.manifest, expected=kept, expected_from=source, rounds=rounds)


def expected_hours(cell: Cell, speed: estimate.Speed) -> float:
    """Device-hours that a cell is expected to take from start to end."""
    trainer = cell.config["trainer"]
    return speed.hours(cell.to_json(), trainer["devices"] * trainer["nodes"])


def study_manifest(name: str, overrides: Sequence[str] = ()) -> Manifest:
    """The manifest that running a study would write."""
    words = shlex.split(command("run", "-m", f"ablation={name}", *overrides))
    return sweep(study_request(name, overrides), words).manifest


ACTIONS: Mapping[State, str] = {
    "planned": "run",
    "killed": "resume",
    "failed": "retry",
    "running": "busy",
    "finished": "done",
    "diverged": "done",
    "damaged": "damaged",
}
"""What to do with a cell in each state; of "busy", "done" and "damaged" nothing."""
