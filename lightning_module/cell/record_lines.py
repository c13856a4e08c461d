"""The lines of a record: strict JSON, each of a known shape and with a checksum of all that stands up to it.

The last key of a line is "crc": the CRC-32 of every byte before the key, from the beginning of the file. A line that
was changed, taken out, moved or repeated is found by it; lines without one are of an older program. Numbers that are
not finite, such as the loss of a run that diverged, are the texts "NaN", "Infinity" and "-Infinity" (the older
program wrote them bare).
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_module.cell import record_values
from lightning_module.support.disk import read_file

SCHEMA = 1
DEEPEST = 8
"""Levels of lists and mappings within each other that a line may have."""


class RecordError(Exception):
    """A record that cannot be read or written; its text is one sentence that names the file and what to do."""


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int, int]:
    """Lines of a record without their checksums, how many bytes they take, and the CRC-32 of these.

    A last line that was cut short is left out. Raises RecordError for any other damage, and for the record of another
    cell than the folder's. Of a newer record only the first line is looked at.
    """
    try:
        rows = read_file(path).splitlines(keepends=True)
    except (FileNotFoundError, NotADirectoryError):
        return [], 0, 0
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror})") from error
    lines: list[dict[str, Any]] = []
    length = checksum = 0
    wanted = False
    for number, row in enumerate(rows, start=1):
        if not row.endswith(b"\n"):
            break
        line, wrong = _decoded(row)
        if number == 1 and is_newer(line):
            return [line], len(row), 0
        wrong = wrong or record_values.wrong(line, first=number == 1)
        if not wrong and number == 1:
            if line["identity"] != path.parent.name:
                raise RecordError(f"{path} is the record of cell {line['identity']}: move it away")
            wrong = record_values.wrong_config(line["config"], line["identity"])
        has_checksum = "crc" in line
        wrong = wrong or _unsealed(line, row, checksum, wanted)
        wanted = has_checksum
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
        "restore the file, or move the folder away and run the cell again"
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


def _unsealed(line: dict[str, Any], row: bytes, checksum: int, wanted: bool) -> str:
    """What is wrong with the checksum of a line, which is taken out of it; wanted: the line before it has one."""
    if "crc" not in line:
        return "it has no checksum, and the line before it has one" if wanted else ""
    del line["crc"]
    text, _, rest = row.rpartition(b', "crc": ')
    if rest == b"%d}\n" % zlib.crc32(text, checksum):
        return ""
    return "its checksum does not fit: it, or what stands before it, was changed"


def _decoded(row: bytes) -> tuple[dict[str, Any], str]:
    """A line, {} and what is wrong with it if it is none."""
    try:
        line = _DECODER.decode(row.decode())
        if not isinstance(line, dict):
            return {}, "it is not one of JSON"
        if line.get("event") != "epoch":  # of which every value is looked at
            _check_unread({key: line[key] for key in line if key != "responses"}, DEEPEST)
            if b"\\u" in row:
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
