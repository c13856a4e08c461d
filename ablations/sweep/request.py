"""From what was typed to lists of overrides, one per cell: the values listed, or the cells of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablations.sweep.check_study import checked, override, overrides_of
from ablations.sweep.compose import compose_keys
from ablations.sweep.estimate import budget_hours
from ablations.sweep.keys import groups
from ablations.sweep.overrides import expand, parse_overrides, plain_value, values_of
from lightning_module.cell.identity import plain
from lightning_module.support.check import fit
from lightning_module.support.errors import ConfigError, nearest, spelled


@dataclass(frozen=True)
class Request:
    """What somebody asked for: lists of overrides, one per cell, and the study they come from.

    own: for each of them, the overrides of the study's own cell that it comes from; () without a study.
    narrowed: what was typed that took a part of the study's cells. settle: whether it stops when its claims are
    settled. budget: device-hours that it may take then, None without a limit.
    """

    overrides: tuple[tuple[str, ...], ...]
    typed: tuple[str, ...]
    study: str | None = None
    own: tuple[tuple[str, ...], ...] = ()
    narrowed: tuple[str, ...] = ()
    settle: bool = False
    budget: float | None = None


@dataclass(frozen=True)
class _Part:
    """A cell on its way from the study's own to what was asked for; both key -> override."""

    own: dict[str, str]
    asked: dict[str, str]
    config: dict[str, Any]

    def value(self, key: str) -> Any:
        """What the study's own cell has of a key, or of a group (None: the default choice)."""
        if key in groups():
            return plain_value(self.own[key]) if key in self.own else None
        node: Any = self.config
        for step in key.split("."):
            node = node.get(step) if isinstance(node, dict) else None
        return node


def _is_undone(part: _Part, choice: str) -> bool:
    """Whether a group's choice is another than the study's, and the study's own keys leave nothing of it."""
    group = choice.partition("=")[0]
    own = [part.own[group]] if group in part.own else []
    return (
        compose_keys([choice]) != compose_keys(own)
        and compose_keys([*(part.own | {group: choice}).values()]) == part.config
    )


def study_request(name: str, overrides: Sequence[str]) -> Request:
    """A study, narrowed and changed by overrides.

    Values that cells of the study have take the part of the study that has them. Other values change the
    study: they stand in place of its own in every cell, and cells that become the same count once. Only of
    a factor of the model nothing but its levels is accepted: another level would be another question.
    """
    study = checked(name)
    parts = []
    for levels in study.cells.cells:
        own = overrides_of(study, levels)
        parts.append(_Part(own, dict(own), compose_keys(list(own.values()))))
    kept = list(range(len(parts)))
    changes: dict[str, list[str]] = {}
    narrowed: list[str] = []
    for typed in parse_overrides(overrides):
        key, text = typed.key_or_group, str(typed.input_line)
        wanted = [f"{key}={value}" for value in values_of(typed)]
        asked_for = {_comparable(plain_value(value)): value for value in wanted}
        owns = [_comparable(part.value(key)) for part in parts]
        if set(asked_for) <= set(owns):
            fewer = [index for index in kept if owns[index] in asked_for]
            if not fewer:
                raise ConfigError(f"{text} and {' '.join(narrowed)} leave no cell of study {name}")
            if set(owns) - set(asked_for):
                narrowed.append(text)
            kept = fewer
            for index in kept:
                parts[index].asked[key] = asked_for[owns[index]]
        elif key.partition(".")[0] == "model" and len(set(owns)) > 1:
            wrong = next(value for level, value in asked_for.items() if level not in owns)
            levels_known = [override(key, value).partition("=")[2] for value in dict.fromkeys(owns)]
            raise ConfigError(
                f"{wrong} is not a level of study {name}; {nearest(wrong.partition('=')[2], levels_known)}"
            )
        else:
            changes[key] = [text]
        if key in groups() and all(_is_undone(parts[index], value) for index in kept for value in wanted):
            raise ConfigError(
                f"{text} changes no cell of study {name}: they set themselves what it would set"
            )
    asked: dict[tuple[str, ...], tuple[str, ...]] = {}
    for index in kept:
        mine = (*parts[index].own.values(), f"ablation={name}")
        for combination in expand([text for texts in changes.values() for text in texts]):
            merged = parts[index].asked | {text.partition("=")[0]: text for text in combination}
            asked.setdefault((*merged.values(), f"ablation={name}"), mine)
    return Request(
        tuple(asked), (f"ablation={name}", *overrides), name, tuple(asked.values()), tuple(narrowed)
    )


def _comparable(value: Any) -> Any:
    """One spelling per value that can stand in a set."""
    known = plain(value)
    return tuple(map(_comparable, known)) if isinstance(known, list) else known


def last_of_each_key(overrides: Sequence[str]) -> list[str]:
    """The overrides that count: of a key that is given twice the last, as everywhere in Hydra."""
    last = {
        override.key_or_group: text
        for override, text in zip(parse_overrides(overrides), overrides, strict=True)
    }
    return [text for text in overrides if text in last.values()]


def request(overrides: Sequence[str]) -> Request:
    """What the overrides of one command ask for: a study if they name one, else the product of their values."""
    overrides = last_of_each_key(overrides)
    chosen = []
    for typed in parse_overrides(overrides):
        if typed.key_or_group == "ablation":
            if typed.is_sweep_override():
                raise ConfigError(f"{typed.input_line} names several studies; run them one after another")
            chosen.append(spelled(plain_value(str(typed.input_line))))
    said = {key: _one_value(overrides, key) for key in ("settle", "budget")}
    left = [text for text in overrides if text.partition("=")[0] not in said]
    settle = said["settle"] is not None and fit(said["settle"], bool, "settle")
    budget = None if said["budget"] is None else budget_hours(said["budget"])
    if budget is not None and not settle:
        raise ConfigError(f"budget={spelled(said['budget'])} has no effect; it needs settle=true")
    rest = [text for text in left if not text.startswith(("ablation=", "hydra"))]
    if not chosen or chosen[-1] == "none":
        if settle:
            raise ConfigError("settle=true has no effect; it needs the claims of a study, ablation=NAME")
        return Request(tuple(expand(rest)), tuple(left))
    if settle and not checked(chosen[-1]).claims:
        raise ConfigError(
            f"settle=true has no effect: study {chosen[-1]} claims nothing that could be settled"
        )
    return replace(study_request(chosen[-1], rest), settle=settle, budget=budget)


def _one_value(overrides: Sequence[str], key: str) -> Any:
    """The value of a key that is not of a cell; None if it was not typed. ConfigError if it lists several."""
    return next((plain_value(text) for text in overrides if text.partition("=")[0] == key), None)
