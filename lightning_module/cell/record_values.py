"""What a line of a record may hold: the types and ranges of every value that somebody reads."""

from __future__ import annotations

import base64
import functools
import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lightning_module.cell.identity import digest

NOT_FINITE = ("NaN", "Infinity", "-Infinity")
LARGEST, LONGEST = sys.float_info.max, 1e9
"""A number, and the seconds of an epoch: 30 years."""

Check = Callable[[Any], bool]


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53  # by `type`, since True is an int


def _identity(value: Any) -> bool:
    return _text(value) and re.fullmatch("[0-9a-f]{12}", value) is not None


def _positive(value: Any) -> bool:
    return _count(value) and value > 0


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def _seconds(value: Any) -> bool:
    return _number(value) and 0 <= value < LONGEST


def _percentage(value: Any) -> bool:
    return _number(value) and 0 <= value <= 100


def _loss(value: Any) -> bool:
    return type(value) is float or value in NOT_FINITE or _number(value)


def _of(kind: type) -> Check:
    return lambda value: type(value) is kind


_text, _mapping = _of(str), _of(dict)


def _texts(value: Any) -> bool:
    return type(value) is list and all(map(_text, value))


def _words(value: Any) -> bool:
    """A text, or a mapping to plain values: versions, hardware."""
    return _text(value) or (_mapping(value) and all(map(_plain_value, value.values())))


def _floors(value: Any) -> bool:
    return _mapping(value) and all(floor is None or _number(floor) for floor in value.values())


def _responses(value: Any) -> bool:
    return type(value) is list and all(
        type(pair) is list and len(pair) == 2 and _text(pair[0]) and _loss(pair[1]) for pair in value
    )


def _plain_value(value: Any) -> bool:
    return value is None or type(value) in (str, bool) or _number(value)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "cell": ("schema", "identity", "name", "overrides", "config", "parameters", "multiply_adds"),
    "attempt": ("step",),
    "epoch": ("epoch", "step", "seconds"),
    "status": ("status", "step"),
    "right_images": ("step", "test", "images", "error"),
}
"""Keys that a line of each event must have, because readers count on them."""
_KINDS: Mapping[str, Mapping[str, Check]] = {
    "cell": {
        **dict.fromkeys(("schema", "parameters", "multiply_adds"), _count),
        "identity": _identity,
        "name": _text,
        "overrides": _texts,
        "config": _mapping,
    },
    "attempt": {
        **dict.fromkeys(("attempt", "devices"), _positive),
        **dict.fromkeys(("commit", "job", "host", "url"), _text),
        **dict.fromkeys(("versions", "hardware"), _words),
        **dict.fromkeys(("dirty", "deterministic"), _of(bool)),
        "realised": _mapping,
    },
    "epoch": {"epoch": _positive, "step": _positive, "seconds": _seconds},
    "status": {**dict.fromkeys(("status", "error", "reason", "traceback"), _text), "rank": _count},
    "layer_responses": {"responses": _responses},
    "right_images": {"test": _text, "images": _positive},
    "benchmark": {"floor_seconds": _floors, "steady": _or_none(_of(bool))},
    "execution": {
        "cuda_graph": _of(bool),
        "without_graph": _text,
        **dict.fromkeys(("compiled_graphs", "graph_breaks"), _count),
    },
    "warm_up": {"ended": _or_none(_count)},
    "wandb": {"url": _text},
    "set_aside": {"attempt": _positive, "reason": _text},
}
"""Types of the values that somebody reads, by event."""
_EVERYWHERE: Mapping[str, Check] = {"step": _count, "time": _number}
_NUMBERS = ("model.depth", "recipe.steps", "recipe.batch_size", "seed")
"""Keys of a configuration that readers count with."""
RIGHT = ("error", "top5_error")
"""Metrics of a test for which the event right_images may say which images were right."""


@functools.lru_cache(maxsize=1024)
def _checks(event: str, keys: tuple[str, ...]) -> list[tuple[str, Check]]:
    """What the values of these keys must be; a key that nobody reads is left out."""
    kinds = dict(_EVERYWHERE)
    if event == "epoch":
        kinds |= {
            key: _percentage if key.endswith("error") else _loss if key.endswith("loss") else _number
            for key in keys
            if key not in ("event", "crc")
        }
    kinds |= _KINDS.get(event, {})
    return [(key, kinds[key]) for key in keys if key in kinds]


def wrong(line: dict[str, Any], first: bool) -> str:
    """What is wrong with a line that is JSON, as the end of a sentence; "" if nothing is.

    Numbers that are not finite become ones on the way, where they are allowed.
    """
    event = line.get("event")
    if first != (event == "cell"):
        return "a record starts with its cell" if first else "only its first line is its cell"
    if not isinstance(event, str):
        return "it names no event"
    for key in _REQUIRED.get(event, ()):
        if key not in line:
            return f"its {key} is missing"
    for key, check in _checks(event, tuple(line)):
        value = line[key]
        if not check(value):
            return f"its {key} is {shown(value)}" + (
                ", which is no percentage" if check is _percentage and _number(value) else ""
            )
        if check is _loss and type(value) is str:
            line[key] = float(value)
    if event == "layer_responses":
        line["responses"] = [[name, float(value)] for name, value in line.get("responses", ())]
    for key in (key for key in RIGHT if event == "right_images" and key in line):
        if packed_bits(line[key], line["images"]) is None:
            return f"its {key} is {shown(line[key])}, which does not hold a bit for each of {line['images']} images"
    if event == "status" and line["status"] not in ("finished", "diverged", "failed"):
        return f"its status is {shown(line['status'])}"
    return ""


def packed_bits(text: Any, count: int) -> bytes | None:
    """The bytes of a text of base64 that holds `count` bits, and zeros to fill the last byte; None if it does not."""
    try:
        held = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return None
    fits = len(held) == -(-count // 8) and not held[-1] & ((1 << -count % 8) - 1)
    return held if fits else None


def wrong_config(config: Mapping[str, Any], identity: str) -> str:
    """A configuration is flat, and it is what its identity says: see cell/identity.py.

    Its keys, choices and ranges are not those of today's program: it may be older, or name a user's block.
    """
    if wrong := wrong_setting(config):
        return wrong
    return "" if digest(config) == identity else f"its config is not that of cell {identity}"


def wrong_setting(config: Mapping[str, Any]) -> str:
    """What is wrong with a value of a configuration; "" if nothing is."""
    # Another family may call something else its depth.
    numbers = set(_NUMBERS) - ({"model.depth"} if "model.family" in config else set())
    for key, value in config.items():
        flat = _plain_value(value) or (type(value) is list and all(map(_plain_value, value)))
        if not flat or (key in numbers and not _count(value)):
            return f"its config has {key}={shown(value)}"
    return ""


def shown(value: Any) -> str:
    """A value for a sentence, shortened."""
    if isinstance(value, dict | list) and value:
        return "a mapping" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
