"""What is typed, `key=value`, as Hydra reads it, and what is wrong with it: one sentence, with what to type."""

from __future__ import annotations

import functools
import itertools
import math
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
)
from hydra.errors import HydraException

from ablations.sweep.keys import groups, keys, meant
from lightning_module.support.command_line import COMMANDS, command
from lightning_module.support.errors import ConfigError, nearest, spelled

MOST = 100_000
"""Values that one override may list, and cells that a command may ask for."""

CLOSING = {"(": ")", "[": "]", "{": "}"}
UNQUOTED = re.compile(r"[\w/\-\\+.$%*@?|:,\s]", re.ASCII)
"""What may stand outside of quotes and brackets; Hydra's own list."""
KEY = re.compile(r"(~|\+\+?)?[\w$-]+([./][\w$-]+)*", re.ASCII)
BEGUN = re.compile(r"\s*(~|\+\+?)?([\w$-]+[./])*[\w$-]*", re.ASCII)
"""A key, and how one may begin."""
FORMS = {
    **{name: f"{name}(FIRST,END,STEP), of numbers" for name in ("range", "interval")},
    **{name: f"{name}(VALUE,VALUE), of values of one kind" for name in ("choice", "sort", "shuffle")},
    **{name: f"{name}(VALUE)" for name in ("int", "float", "bool", "str")},
    "glob": "glob(PATTERN,exclude=PATTERN)",
    "tag": "tag(NAME,choice(VALUE,VALUE))",
}
"""Hydra's functions, and how they are written."""


@functools.lru_cache(maxsize=65536)
def parse(text: str) -> Override:
    """Hydra's own reading of `key=value`; ConfigError for what is not one, or does more than to set a key."""
    if digits := re.search(r"\d{1000,}", text):
        raise ConfigError(
            f"{text[:40]}… has a number of {len(digits[0]):,} digits, which nothing here can count to"
        )
    override = _read(text)
    if isinstance(override, str):
        raise ConfigError(_mistake(text, override))
    if not override.key_or_group:
        raise ConfigError(f"{text} names no key; an override is written key=value")
    if inner := _inner_function(override.value()):
        raise ConfigError(f"{text} has {inner}() inside of a list, but it stands alone; write {FORMS[inner]}")
    if override.package is not None or not text.startswith(override.key_or_group):
        raise ConfigError(
            _no_change(text, override.key_or_group, "moves" if override.package else "adds or deletes")
        )
    return override


def _inner_function(value: Any) -> str | None:
    """The function that stands where only a value can: in `[…]`, `{…}` or after a comma."""
    parts = value.list if isinstance(value, ChoiceSweep) else value
    for part in parts.values() if isinstance(parts, dict) else parts if isinstance(parts, list) else ():
        if isinstance(part, Sweep | Glob):
            return type(part).__name__.removesuffix("Sweep").lower()
        if inner := _inner_function(part):
            return inner
    return None


def _no_change(text: str, key: str, does: str) -> str:
    value = text.partition("=")[2]
    written = shlex.quote(f"{key}={value}") if value else f"{key}=VALUE"
    instead = f"; write {written}" if _is_known(key) else _perhaps(key) or "; write key=value"
    return f"{text} {does} a key, but the keys are fixed{instead}"


def _is_known(key: str) -> bool:
    return key in groups() or key in keys() or key.startswith("hydra.")


def _read(text: str) -> Override | str:
    """An override, or what Hydra says against it."""
    if not all(character.isprintable() for character in text):
        return ""
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    assert isinstance(override, Override)
    return override


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Each by itself; ConfigError for the first that is not one."""
    return [parse(text) for text in overrides]


def _perhaps(key: str) -> str:
    found = meant(key) if key else None
    return f"; did you mean {found}?" if found else ""


def values_of(override: Override) -> list[str]:
    """The values that an override lists, as one would type them; one if it is no sweep."""
    text = str(override.input_line)
    if not override.is_sweep_override():
        return [text.partition("=")[2]]
    if override.is_interval_sweep():
        raise ConfigError(f"{text} is a range without steps; write the values, or range(FIRST,END,STEP)")
    listed, key = override.value(), override.key_or_group
    if isinstance(listed, Glob):
        if key not in groups():
            raise ConfigError(f"{text}: glob() chooses among the files of a group, and {key} is none")
        values = listed.filter(groups()[key])
        if not values:
            raise ConfigError(
                f"{text} fits none of the choices; {nearest(','.join(listed.include), groups()[key])}"
            )
        return values
    if isinstance(listed, RangeSweep):
        start, stop, step = float(listed.start or 0), float(listed.stop or 0), float(listed.step)
        steps = (stop - start) / step if step else 0
        if not math.isfinite(steps):
            raise ConfigError(f"{text} has no end; write {FORMS['range']}")
        count = math.ceil(steps)
        if count < 1:
            raise ConfigError(f"{text} is empty; range(FIRST,END,STEP) ends before END")
        _check_count(text, count, "values")
    if isinstance(listed, ChoiceSweep) and not listed.list:
        raise ConfigError(f"{text} lists no value")
    return [
        value.lower() if value in ("True", "False") else value for value in override.sweep_string_iterator()
    ]


def _check_count(what: str, count: int, things: str) -> None:
    if count > MOST:
        raise ConfigError(f"{what} asks for {count:,} {things}; at most {MOST:,} are allowed")


def expand(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The product of the values listed: ["a=1,2", "b=3"] -> [("a=1", "b=3"), ("a=2", "b=3")]."""
    axes = [
        [f"{override.key_or_group}={value}" for value in values_of(override)]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in parse_overrides(overrides)
    ]
    _check_count(" ".join(overrides), math.prod(map(len, axes)), "cells")
    return [tuple(combination) for combination in itertools.product(*axes)]


def plain_value(text: str) -> Any:
    """The value of an override `key=value` as plain data: a number, truth, None, a text, or a list or dictionary."""
    override = parse(text)
    if override.is_sweep_override():
        raise ConfigError(f"{text} lists several values where one is wanted")
    value = override.value()
    if isinstance(value, dict):  # which no key takes: its text would pass for the name of a folder
        return {str(key): spelled(item) for key, item in value.items()}
    return value if isinstance(value, int | float | bool | list | None) else spelled(value)


def typed(key: str, value: Any) -> str:
    """The override that gives a key this value, in quotes where Hydra needs them."""
    plain = f"{key}={spelled(value)}"
    read = _read(plain)
    if isinstance(read, Override) and not read.is_sweep_override() and read.value() == value:
        return plain
    return f"{key}={QuotedString(spelled(value), Quote.double).with_quotes()}"


def _mistake(text: str, said: str) -> str:
    """The sentence about an override that Hydra cannot read, which said this against it."""
    key, equals, value = text.partition("=")
    odd = next((n for n, character in enumerate(text, start=1) if not character.isprintable()), None)
    if odd:
        return f"{text!r} has {text[odd - 1]!r} at character {odd}, which cannot be typed; take it out"
    if not equals:
        return _no_equals(text)
    name = key.strip()
    if key != name and not isinstance(_read(f"{name}={value.strip()}"), str):
        return f"{text} has a blank before the =; write {shlex.quote(f'{name}={value.strip()}')}"
    if not KEY.fullmatch(name):
        at = len(BEGUN.match(key)[0]) + 1  # type: ignore[index]  # it matches nothing too
        repaired = ".".join(re.findall(r"\w+", name))
        near = f"; did you mean {repaired}?" if repaired in keys() else _perhaps(repaired)
        return f"{text} cannot be read: {_at(text, min(at, len(key)))} stands in no key{near}"
    if (bare := name.lstrip("~+")) != name:
        return _no_change(text, bare, "adds or deletes")
    if name in groups():
        return f"{name}={value} is not known; {nearest(value, groups()[name])}"
    if not _is_known(name):
        return f"{name} is not a key{_perhaps(name) or '; an override is written key=value'}"
    problem, at = _trouble(value)
    where = f"{_at(text, len(key) + 1 + at)} {problem}" if at else _reason(said)
    return f"{text} cannot be read: {where}; {_instead(name, value)}"


def _no_equals(text: str) -> str:
    word = text.strip()
    if word.startswith(("–", "—", "−")):
        return f"{text} begins with a long dash; write -{word.lstrip('–—−')}"
    if word in groups()["ablation"]:
        return f"{text} is not an override; did you mean ablation={word}?"
    if word in COMMANDS:
        return f"{word} is not an override but a command; write {command(word)}"
    if word == "help":
        return f"{word} is not an override; write --help"
    key, _, value = word.partition(":")
    if value and _is_known(key):
        return f"{text} is not an override; write {shlex.quote(f'{key}={value}')}"
    instead = (
        f"write {word}=VALUE" if word in groups() or word in keys() else "an override is written key=value"
    )
    return f"{text.strip() or 'An empty word'} is not an override; {instead}"


def _at(text: str, at: int) -> str:
    return f"{text[at - 1]} at character {at}"


def _trouble(value: str) -> tuple[str, int]:
    """What of a value cannot be read, and where, counted from 1; 0 if it is nowhere in particular."""
    opened: list[tuple[str, int]] = []
    position = 0
    while position < len(value):
        character, at = value[position], position + 1
        if character in "\"'":
            end = re.compile(rf"(?:\\.|[^\\{character}])*{character}").match(value, at)
            if not end:
                return "begins a quotation that never ends", at
            position = end.end()
            continue
        if character == "\\" and value[at : at + 1] in tuple("\\()[]{}:=, "):
            position += 2
            continue
        if value.startswith("${", position) and "}" in value[position:]:
            begun, position = position + 2, value.index("}", position) + 1
            if nested := re.search("[${]", value[begun:position]):
                return "stands inside of ${…} only in quotes", begun + nested.end()
            continue
        if character in CLOSING:
            opened.append((character, at))
        elif character in CLOSING.values():
            if not opened or CLOSING[opened.pop()[0]] != character:
                return "closes nothing", at
        elif character == "=" and opened and opened[-1][0] == "(":
            pass  # the name of an argument
        elif character == "," and re.match(r"\s*($|[,\])}])", value[at:]):
            return "is followed by no value", at
        elif not UNQUOTED.match(character):
            return "stands only in quotes", at
        position += 1
    return ("is never closed", opened[-1][1]) if opened else ("", 0)


def _reason(said: str) -> str:
    """Hydra's own words, if they are about what was typed and not about its grammar."""
    function = re.search(r"Unknown function '(\w+)'", said)
    if function:
        return f"there is no function {function[1]}()"
    wrong = re.search(r"(?:TypeError|ValueError) while evaluating '(\w+)\(.*?: (?!empty|nesting|Range)", said)
    if wrong:
        return f"{wrong[1]}() is written {FORMS[wrong[1]]}"
    about = re.search(r"(?:while evaluating .*?: |Exception: )(.+)", said)
    return about[1] if about else "it is no value"


def _instead(key: str, value: str) -> str:
    """How to write what was probably meant."""
    example = keys().get(key)
    words = f"{key}={value}".split()
    if len(words) > 1 and all("=" in word and isinstance(_read(word), Override) for word in words):
        return f"each override is a word of its own: write {shlex.join(words)}"
    if value.startswith("~"):
        return f"write {shlex.quote(typed(key, os.path.expanduser(value)))}"
    if isinstance(example, int | float | list) and "${" not in value:
        repaired = re.sub(r",\s*(?=$|[,\])}])", "", value)
        for candidate in (f"{key}={repaired}", f"{key}={repaired}]", f"{key}={repaired.lstrip('= ')}"):
            if not isinstance(_read(candidate), str):
                return f"write {shlex.quote(candidate)}"
        return f"a value looks like {shlex.quote(typed(key, example))}"
    return f"write {shlex.quote(typed(key, value))}"
