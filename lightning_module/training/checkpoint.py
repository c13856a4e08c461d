"""Checkpoints: written whole or not at all, read as data only, with a checksum. Which one is trusted: resume.py.

A checkpoint is a mapping: "schema", "identity" of its cell, "step", "attempt" and "epochs" (lines that the record had
then), "versions", the state of the training (see Classifier.state), and "crc", a checksum of all of it by content.
"""

from __future__ import annotations

import io
import platform
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from lightning_module.support.disk import read_file, whole_file
from lightning_module.support.errors import one_line

FILE = "last.ckpt"
SCHEMA = 1
"""Raise it when the state of the training has other keys: those of before are then set aside."""

KINDS = {
    **dict.fromkeys(("step", "attempt", "epochs", "warm_up_ends"), int),
    **dict.fromkeys(("sums", "window"), torch.Tensor),
    **{"seconds": float, "network": OrderedDict, "optimizer": dict},
}
"""Types of what a cell goes on from; warm_up_ends may be None."""


class CheckpointError(Exception):
    """A checkpoint that cannot be used; its text is the end of a sentence that begins with the file."""


class Saver:
    """Saves checkpoints from a thread, one at a time, so that training goes on meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def save(self, folder: Path, identity: str, attempt: int, epochs: int, state: Mapping[str, Any]) -> None:
        """As the function `save`, with the state as it is now; raises what the save before ran into.

        It is read from the device at once: whatever a thread asks of a GPU waits for all the steps that training has
        asked for meanwhile, each tensor anew.
        """
        self.wait()
        copy = _each_tensor(state, lambda value: value.to("cpu", copy=True))
        self._last = self._thread.submit(save, folder, identity, attempt, epochs, copy)

    def wait(self) -> None:
        """Return when the last checkpoint is on the disk; raises what saving it ran into."""
        if self._last:
            last, self._last = self._last, None
            last.result()

    def close(self) -> None:
        """Let a save end, whatever comes of it."""
        self._thread.shutdown()


def save(folder: Path, identity: str, attempt: int, epochs: int, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint of a run folder atomically: a kill leaves either. state: on the CPU."""
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    head = {"schema": SCHEMA, "identity": identity, "attempt": attempt, "epochs": epochs}
    content = {**head, "versions": versions, **state}
    content["crc"] = checksum(content)
    with whole_file(folder / FILE, durable=True) as file:
        torch.save(content, file)


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a run folder on the CPU, None if there is none.

    Only tensors and plain values are read, so a tampered file cannot run code. Raises CheckpointError for a file that
    is none, or damaged, or does not say whose it is, and OSError where the disk does not give it.
    """
    try:
        if (folder / FILE).is_dir():
            raise CheckpointError("is a folder")
        data = read_file(folder / FILE)
    except FileNotFoundError:
        return None
    try:
        content: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes the reader do
        raise CheckpointError(f"cannot be read as a checkpoint ({_first_sentence(error)})") from error
    if not isinstance(content, dict) or "identity" not in content:
        raise CheckpointError(
            "does not say which cell it is of, as those of an older version of this program"
        )
    if content.get("schema") != SCHEMA:
        raise CheckpointError(f"has schema {content.get('schema')!r}, and this program's is {SCHEMA}")
    try:
        fits = content.pop("crc", None) == checksum(content)
    except (RecursionError, RuntimeError):  # lists within lists without end, tensors of another kind
        fits = False
    if not fits:
        raise CheckpointError("is damaged (its checksum does not fit)")
    for key, kind in KINDS.items():
        if type(content.get(key)) not in (kind, type(None) if key == "warm_up_ends" else kind):
            raise CheckpointError(f"holds no {key} such as this program writes")
    return content


def _each_tensor(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Nested mappings and lists with every tensor changed; a mapping stays of its kind."""
    if isinstance(value, torch.Tensor):
        return change(value.detach())
    if isinstance(value, Mapping):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        return kind((key, _each_tensor(each, change)) for key, each in value.items())
    return [_each_tensor(each, change) for each in value] if isinstance(value, list) else value


def _first_sentence(error: Exception) -> str:
    return one_line(error).split(". ")[0][:200]


def checksum(value: Any, before: int = 0) -> int:
    """CRC-32 of nested plain data and tensors: of what they hold, wherever it lies."""
    if isinstance(value, torch.Tensor):
        before = zlib.crc32(f"{value.dtype} {list(value.shape)}".encode(), before)
        return zlib.crc32(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data, before)
    if isinstance(value, Mapping):
        before = zlib.crc32(repr(list(value)).encode(), before)
        value = list(value.values())
    if isinstance(value, list | tuple):
        before = zlib.crc32(f"{len(value)} values".encode(), before)
        for each in value:
            before = checksum(each, before)
        return before
    return zlib.crc32(repr(value).encode(), before)
