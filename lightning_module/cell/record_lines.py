"""The lines of a record: strict JSON, each of a known shape and with a checksum of all that stands up to it.

The last key of a line is "crc": the CRC-32 of every byte before the key, from the beginning of the file. A line that
was changed, taken out, moved or repeated is found by it; lines without one are of an older program. Numbers that are
not finite, such as the loss of a run that diverged, are the texts "NaN", "Infinity" and "-Infinity" (the older
program wrote them bare).
"""

from __future__ import annotations

import functools
import json
import math
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning_module.cell.identity import digest

SCHEMA = 1
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
LARGEST, LONGEST = sys.float_info.max, 1e9
"""A number, and the seconds of an epoch: 30 years."""
DEEPEST = 8
"""Levels of lists and mappings within each other that a line may have."""


Check = Callable[[Any], bool]


class RecordError(Exception):
    """A record that cannot be read or written; its text is one sentence that names the file and what to do."""


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53  # by `type`, since True is an int


def _positive(value: Any) -> bool:
    return _count(value) and value > 0


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def _seconds(value: Any) -> bool:
    return _number(value) and 0 <= value < LONGEST


def _percentage(value: Any) -> bool:
    return _number(value) and 0 <= value <= 100


def _loss(value: Any) -> bool:
    return type(value) is float or _number(value) or value in NOT_FINITE


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
}
"""Keys that a line of each event must have, because readers count on them."""
_KINDS: Mapping[str, Mapping[str, Check]] = {
    "cell": {
        **dict.fromkeys(("schema", "parameters", "multiply_adds"), _count),
        **dict.fromkeys(("identity", "name"), _text),
        "overrides": _texts,
        "config": _mapping,
    },
    "attempt": {
        **dict.fromkeys(("attempt", "devices"), _positive),
        **dict.fromkeys(("commit", "job", "host", "url"), _text),
        **dict.fromkeys(("versions", "hardware"), _words),
        "dirty": _of(bool),
        "realised": _mapping,
    },
    "epoch": {"epoch": _positive, "step": _positive, "seconds": _seconds},
    "status": {**dict.fromkeys(("status", "error", "reason", "traceback"), _text), "rank": _count},
    "layer_responses": {"responses": _responses},
    "benchmark": {"floor_seconds": _floors, "steady": _or_none(_of(bool))},
    "warm_up": {"ended": _or_none(_count)},
    "wandb": {"url": _text},
    "set_aside": {"attempt": _positive, "reason": _text},
}
"""Types of the values that somebody reads, by event."""
_EVERYWHERE: Mapping[str, Check] = {"step": _count, "time": _number}
_NUMBERS = ("model.depth", "recipe.steps", "recipe.batch_size", "seed")
"""Keys of a configuration that readers count with."""


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int, int]:
    """Lines of a record without their checksums, how many bytes they take, and the CRC-32 of these.

    A last line that was cut short is left out. Raises RecordError for any other damage, and for the record of another
    cell than the folder's. Of a newer record only the first line is looked at.
    """
    try:
        rows = path.read_bytes().splitlines(keepends=True)
    except (FileNotFoundError, NotADirectoryError):
        return [], 0, 0
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror})") from error
    lines: list[dict[str, Any]] = []
    length = checksum = 0
    for number, row in enumerate(rows, start=1):
        if not row.endswith(b"\n"):
            break
        line, wrong = _decoded(row)
        if number == 1 and is_newer(line):
            return [line], len(row), 0
        wrong = wrong or _wrong(line, number == 1)
        if not wrong and number == 1:
            if line["identity"] != path.parent.name:
                raise RecordError(f"{path} is the record of cell {line['identity']}: move it away")
            wrong = _wrong_config(line["config"], line["identity"])
        wrong = wrong or _unsealed(line, row, checksum)
        if wrong:
            raise damaged(path, number, wrong)
        lines.append(line)
        length += len(row)
        checksum = zlib.crc32(row, checksum)
    return lines, length, checksum


def is_newer(head: Mapping[str, Any]) -> bool:
    """Whether a later version of this program wrote the record that begins so."""
    schema = head.get("schema")
    return isinstance(schema, int) and schema > SCHEMA


def damaged(path: Path, number: int, wrong: str) -> RecordError:
    """What to raise for a line that is damaged; wrong: the end of a sentence."""
    return RecordError(
        f"{path} is damaged in line {number} ({wrong}); nothing was changed: "
        "repair the line or move the folder away"
    )


def sealed(line: Mapping[str, Any], checksum: int) -> bytes:
    """A line as it is written; checksum: the CRC-32 of all before it."""
    text = json.dumps(_writable(line), allow_nan=False)[:-1].encode()
    return text + b', "crc": %d}\n' % zlib.crc32(text, checksum)


def _writable(value: Any) -> Any:
    """As strict JSON in UTF-8 has it: a number that is not finite and half a character are spelled."""
    if isinstance(value, dict):
        return {_writable(key): _writable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else json.dumps(number)


def _unsealed(line: dict[str, Any], row: bytes, checksum: int) -> str:
    """What is wrong with the checksum of a line, which is taken out of it."""
    if "crc" not in line:
        return ""
    said = line.pop("crc")
    text, _, rest = row.rpartition(b', "crc": ')
    if rest == b"%d}\n" % zlib.crc32(text, checksum) and _count(said):
        return ""
    return "its checksum does not fit: it, or what stands before it, was changed"


def _decoded(row: bytes) -> tuple[dict[str, Any], str]:
    """A line, {} and what is wrong with it if it is none."""
    try:
        line = _DECODER.decode(row.decode())
        if not isinstance(line, dict):
            return {}, "it is not one of JSON"
        if line.get("event") not in ("epoch", "layer_responses"):  # of these every value is looked at below
            _check_unread(line, DEEPEST)
        if b"\\ud" in row or b"\\uD" in row:
            line = _writable(line)
    except (ValueError, RecursionError) as error:
        return {}, str(error) if isinstance(error, _Odd) else "it is not one of JSON"
    return line, ""


class _Odd(ValueError):
    """Valid JSON that no line of a record is."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Odd("it has a key twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _check_unread(value: Any, left: int) -> None:
    """_Odd for what a line may hold nowhere: a number that is not finite, or brackets within brackets within..."""
    if not left:
        raise _Odd("its brackets are nested too deeply")
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            _check_unread(each, left - 1)
        elif type(each) is float and not math.isfinite(each):
            raise _Odd(f"it holds {json.dumps(each)}, which is no JSON")


@functools.lru_cache(maxsize=4096)
def _check(event: str, key: str) -> Check | None:
    """What the value of a key must be; None where nobody reads it."""
    known = _KINDS.get(event, {}).get(key) or _EVERYWHERE.get(key)
    if known or event != "epoch" or key in ("event", "crc"):
        return known
    return _percentage if key.endswith("error") else _loss if key.endswith("loss") else _number


def _wrong(line: dict[str, Any], first: bool) -> str:
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
    for key, value in line.items():
        check = _check(event, key)
        if check and not check(value):
            return f"its {key} is {_shown(value)}" + (
                ", which is no percentage" if check is _percentage and _number(value) else ""
            )
        if check is _loss and type(value) is not float:
            line[key] = float(value)
    if event == "layer_responses":
        line["responses"] = [[name, float(value)] for name, value in line.get("responses", ())]
    if event == "status" and line["status"] not in ("finished", "diverged", "failed"):
        return f"its status is {_shown(line['status'])}"
    return ""


def _wrong_config(config: Mapping[str, Any], identity: str) -> str:
    """A configuration is flat, and it is what its identity says: see cell/identity.py.

    Its keys, choices and ranges are not those of today's program: it may be older, or name a user's block.
    """
    for key, value in config.items():
        flat = _plain_value(value) or (type(value) is list and all(map(_plain_value, value)))
        if not flat or (key in _NUMBERS and not _count(value)):
            return f"its config has {key}={_shown(value)}"
    if digest(config) != identity:
        return f"its config is not that of cell {identity}"
    return ""


def _shown(value: Any) -> str:
    """A value for a sentence, shortened."""
    if isinstance(value, dict | list) and value:
        return "a mapping" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
