"""The records in a `.wandb` file: a LevelDB log of protobuf messages, of which a few fields are read.

The file starts with a 7-byte header, then blocks of 32 KiB, in them chunks of CRC32, length, kind and data; joined
chunks are records. Their messages are declared here, with the numbers that they have in wandb_internal.proto of every
wandb from 0.16 to 0.31; whatever else a record holds is skipped. So no wandb package is needed, of no version.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK = 32768
CHUNK = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Record": {
        "history": (2, "History"),
        "summary": (3, "Change"),
        "config": (5, "Change"),
        "run": (17, "Run"),
    },
    "Run": {
        "run_id": (1, "string"),
        "entity": (2, "string"),
        "project": (3, "string"),
        "config": (4, "Change"),
        "run_group": (6, "string"),
        "job_type": (7, "string"),
        "display_name": (8, "string"),
        "tags": (10, "repeated string"),
    },
    "Change": {"update": (1, "repeated Item"), "remove": (2, "repeated Item")},
    "History": {"item": (1, "repeated Item")},
    "Item": {
        "key": (1, "string"),
        "nested_key": (2, "repeated string"),
        "boolean": (4, "optional bool"),
        "integer": (5, "optional sint64"),
        "number": (6, "optional double"),
        "text": (7, "optional string"),
        "json": (8, "optional string"),
        "value_json": (16, "string"),
    },
}
"""message -> field -> its number and type. wandb 0.31 types the values of a history; before, all were value_json."""


class Damage(Exception):
    """A log that cannot be read further. cut: it ends in the middle of a record, as after a kill."""

    def __init__(self, text: str, cut: bool = False) -> None:
        super().__init__(text)
        self.cut = cut


@cache
def message() -> Any:
    """The class of a record's message."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="residual_ablations/wandb_file.proto", syntax="proto2")
    for name, fields in MESSAGES.items():
        declared = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label, _, kind = kind.rpartition(" ")
            added = declared.field.add(name=field, number=number)
            added.label = kinds.LABEL_REPEATED if label == "repeated" else kinds.LABEL_OPTIONAL
            if kind in MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, kind
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Record"))


def records(data: bytes) -> Iterator[Any]:
    """The messages in the content of a file; Damage where they end too early."""
    from google.protobuf.message import DecodeError

    parse = message().FromString
    for number, content in enumerate(_log_records(data)):
        try:
            yield parse(content)
        except DecodeError as error:
            raise Damage(f"holds no W&B data in record {number + 1}") from error


def _log_records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log with W&B's header; Damage where they end too early."""
    if data[: len(HEADER)] != HEADER:
        raise Damage("is not a .wandb file of a known version" if data else "is empty", cut=not data)
    position, parts = len(HEADER), b""
    while position < len(data):
        left = BLOCK - position % BLOCK
        if left < CHUNK.size:
            position += left
            continue
        if position + CHUNK.size > len(data):
            raise Damage(f"ends in the middle of a record, at byte {len(data)}", cut=True)
        checksum, length, kind = CHUNK.unpack_from(data, position)
        start = position + CHUNK.size
        body = data[start : start + length]
        if length > left - CHUNK.size or kind not in (FULL, FIRST, MIDDLE, LAST):
            raise Damage(f"is damaged at byte {position}")
        if len(body) < length:
            raise Damage(f"ends in the middle of a record, at byte {len(data)}", cut=True)
        if zlib.crc32(body, zlib.crc32(bytes([kind]))) != checksum:
            raise Damage(f"is damaged at byte {position} (wrong checksum)")
        parts = body if kind in (FULL, FIRST) else parts + body
        if kind in (FULL, LAST):
            yield parts
        position = start + length
