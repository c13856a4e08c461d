"""What of a study can be checked only with `conf/`: that keys, levels and the cells that it speaks of exist."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablations.study import Claim, Levels, Study, related
from ablations.sweep import studies
from ablations.sweep.compose import compose, compose_keys
from ablations.sweep.keys import groups
from ablations.sweep.overrides import plain_value
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import canonical, identity, whole
from lightning_module.support.errors import ConfigError, nearest, spelled

Flat = Mapping[str, Any]


def override(key: str, level: Any) -> str:
    """A level as one would type it: ("seed", 0) -> "seed=0"."""
    return f"{key}={spelled(level)}"


def overrides_of(study: Study, levels: Levels) -> dict[str, str]:
    """Key -> override of one cell of a study: its base, then its levels."""
    texts = [*study.base, *(override(key, level) for key, level in levels.items())]
    return {text.partition("=")[0]: text for text in texts}


def values(texts: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell has: the value of every key that can change its result, and its choice of every group."""
    chosen = {key: plain_value(text) for key, text in texts.items() if key in groups()}
    return whole(canonical(config)) | chosen


@functools.cache
def checked(name: str) -> Study:
    """The study of this name; ConfigError, naming file and field, for whatever is wrong with it.

    A combination that is impossible is no mistake (it is excluded, with its reason), a level that is in no
    possible cell is one.
    """
    study = studies.load(name)
    try:
        _check(study)
    except ConfigError as error:
        raise ConfigError(f"{studies.shown(name)}: {error}") from None
    return study


def _check(study: Study) -> None:
    try:
        compose_keys(study.base)
    except ConfigError as error:
        raise ConfigError(f"base: {error}") from None
    possible: list[tuple[Levels, Flat]] = []
    impossible: list[tuple[Levels, str]] = []
    seen: dict[str, Levels] = {}
    for levels in study.cells.cells:
        texts = overrides_of(study, levels)
        try:
            config = compose(list(texts.values()))
            parse_config(config)
        except ConfigError as error:
            impossible.append((levels, str(error)))
            continue
        twin = seen.setdefault(identity(config), levels)
        if twin is not levels:
            raise ConfigError(f"cells: {_text(twin)} and {_text(levels)} are the same run")
        possible.append((levels, values(texts, config)))
    if not possible:
        raise ConfigError(f"cells: none is possible: {impossible[0][1]}")
    for levels, reason in impossible:
        for key, level in levels.items():
            if not any(key in other and other[key] == level for other, _ in possible):
                raise ConfigError(f"cells: {override(key, level)} is in no possible cell: {reason}")
    for field, named in _spoken_of(study):
        _check_levels(field, named, [flat for _, flat in possible])
    for index, claim in enumerate(study.claims):
        _check_groups(f"claims[{index}]", claim, [levels for levels, _ in possible])


def _spoken_of(study: Study) -> Iterator[tuple[str, Levels]]:
    for index, number in enumerate(study.published):
        yield f"published[{index}]", number.levels
    for index, claim in enumerate(study.claims):
        yield f"claims[{index}].of", claim.of
        yield f"claims[{index}].than", claim.than


def _check_levels(field: str, named: Levels, cells: list[Flat]) -> None:
    left = cells
    for key, level in named.items():
        if not any(key in flat for flat in cells):
            known = dict.fromkeys(name for flat in cells for name in flat)
            raise ConfigError(f"{field}: {key} is not a key; {nearest(key, known)}")
        levels = dict.fromkeys(str(flat.get(key)) for flat in left)
        wanted = list(level) if isinstance(level, tuple) else level
        left = [flat for flat in left if key in flat and flat[key] == wanted]
        if not left:
            raise ConfigError(
                f"{field}: no cell of the study has {_text(named)}; "
                f"of {key} {nearest(level, sorted(levels, key=len)[:20])}"
            )


def _check_groups(field: str, claim: Claim, cells: Sequence[Levels]) -> None:
    """ConfigError for a group that has several cells where the other one has one: which to compare would be chance."""
    for side, named in (("of", claim.of), ("than", claim.than)):
        known: dict[frozenset[tuple[str, Any]], Levels] = {}
        for cell in (
            cell for cell in cells if all(cell.get(key, level) == level for key, level in named.items())
        ):
            free = frozenset(item for item in cell.items() if not related(item[0], [*claim.of, *claim.than]))
            first = known.setdefault(free, cell)
            if loose := [key for key in cell if cell[key] != first.get(key)]:
                raise ConfigError(
                    f"{field}.{side}: it leaves {loose[0]} open, which the other side fixes; give it a level on both"
                )


def _text(levels: Levels) -> str:
    return " ".join(override(key, level) for key, level in levels.items())
