"""The one validator of configurations: keys, types, choices and ranges, each with one wording.

What does not fit is a ConfigError: key, value, what is allowed, the nearest valid choice.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from lightning_module.support.errors import ConfigError, nearest, spelled

T = TypeVar("T")

NOUNS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}

LARGEST = 2**63 - 1
"""Of whole numbers, as torch and NumPy count."""


@functools.cache
def field_types(kind: Any) -> dict[str, Any]:
    """Field -> type of a dataclass; asking Python takes longer than all the rest of a cell's plan."""
    return typing.get_type_hints(kind)


def read_section(kind: type[T], values: Mapping[str, Any], prefix: str) -> T:
    """A frozen dataclass from a mapping with exactly its keys; prefix: the section's name, such as "model"."""
    section = _read_section(kind, json.dumps(values), prefix)  # type: ignore[arg-type]  # a class can be hashed
    return cast(T, section)


@functools.lru_cache(maxsize=16384)
def _read_section(kind: Any, text: str, prefix: str) -> Any:
    # By its text, because the cells of a sweep differ in one section and share the others.
    values, hints, fields = json.loads(text), field_types(kind), dataclasses.fields(kind)
    for key in values:
        if key not in hints:
            raise ConfigError(f"{prefix}.{key} is not a key; {nearest(key, hints)}")
    missing = [f.name for f in fields if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise ConfigError(f"{prefix} lacks {', '.join(missing)}")
    return kind(**{key: fit(value, hints[key], f"{prefix}.{key}") for key, value in values.items()})


def fit(value: Any, kind: Any, key: str) -> Any:
    """The value as a Literal, int, float, bool, str, tuple of these or one of them or None: 20.0 -> 20, -6 -> -6.0."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        text = spelled(value) if all(isinstance(choice, str) for choice in arguments) else value
        one_of(key, text, arguments)
        return text
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        if value in ("None", "none"):
            raise ConfigError(f"{key}={value} is a text; write {key}=null")
        return fit(value, next(arm for arm in arguments if arm is not type(None)), key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key}={spelled(value)} is not a list, such as [32000,48000]")
        return tuple(fit(item, arguments[0], key) for item in value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and isinstance(value, int) and abs(value) > LARGEST:
        raise ConfigError(f"{key}={str(value)[:20]}… is too large; the largest valid value is {LARGEST}")
    if kind is float and number and math.isfinite(value):
        return float(value)
    if kind is int and number and float(value).is_integer():
        return fit(int(value), int, key) if isinstance(value, float) else value
    if kind is str and isinstance(value, str) and not value.strip():
        raise ConfigError(f"{key}={value} is empty; give it a value, or leave it out for the usual one")
    if kind in (str, bool) and isinstance(value, kind):
        return value
    text = " but a text" if isinstance(value, str) else ""
    raise ConfigError(f"{key}={spelled(value)} is not {NOUNS[kind]}{text}")


def one_of(key: str, value: object, allowed: Iterable[object]) -> None:
    """ConfigError unless the value is one of these."""
    choices = list(allowed)
    if value not in choices:
        raise ConfigError(f"{key}={spelled(value)} is not known; {nearest(value, choices)}")


def at_least(section: object, prefix: str, *names: str, minimum: float = 1) -> None:
    """ConfigError for the first of these fields that is below the minimum; None is allowed."""
    _within(section, prefix, names, minimum, math.inf, f"the smallest valid value is {minimum}")


def between(section: object, prefix: str, *names: str, minimum: float, maximum: float) -> None:
    """ConfigError for the first of these fields that is outside; None is allowed."""
    _within(section, prefix, names, minimum, maximum, f"it lies between {minimum} and {maximum}")


def below_one(section: object, prefix: str, *names: str) -> None:
    """ConfigError for the first of these fields that is no probability below 1."""
    for name in names:
        value = getattr(section, name)
        if not 0 <= value < 1:
            raise ConfigError(
                f"{prefix}.{name}={spelled(value)} is not a probability: at least 0 and below 1"
            )


def _within(
    section: object, prefix: str, names: Sequence[str], minimum: float, maximum: float, allowed: str
) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and not minimum <= value <= maximum:
            raise ConfigError(f"{prefix and prefix + '.'}{name}={spelled(value)} is not allowed; {allowed}")


def interval(key: str, values: Sequence[float], minimum: float) -> None:
    """ConfigError unless the values are two, in order and at least the minimum."""
    if len(values) != 2 or not minimum <= values[0] <= values[1]:
        raise ConfigError(f"{key}={spelled(values)} is not [smallest,largest], both at least {minimum}")


def per_channel(key: str, values: Sequence[float], minimum: float, channels: int) -> None:
    """ConfigError unless there is one value for each channel of an image."""
    if len(values) != channels or min(values) < minimum:
        count = {1: "one number, for grey", 3: "three numbers, for red, green and blue"}.get(
            channels, f"{channels} numbers, one for each channel"
        )
        raise ConfigError(f"{key}={spelled(values)} is not {count}, at least {minimum}")
