"""Pickled texts, numbers and arrays, read without running anything that a file names.

What the file says of its arrays is looked at before NumPy sees it: NumPy's own way from a pickle to an array ends the
interpreter (SIGSEGV) on some damaged files.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MEMO = ("PUT", "LONG_BINPUT")
"""Opcodes with a place in the unpickler's memory, which grows up to there: seven bytes can ask for 64 GB."""


def read(content: bytes) -> Any:
    """What was pickled, with each array as a Stored one; texts of Python 2 are bytes.

    Raises any Exception: whatever a cut or foreign file makes the unpickler do.
    """
    for opcode, place, _ in pickletools.genops(content):
        if opcode.name in MEMO and int(place or 0) > len(content):
            raise pickle.UnpicklingError(f"it asks for {place} places in memory")
    return _Reader(io.BytesIO(content), encoding="bytes").load()


class Stored:
    """An array as it lies in a file."""

    def __setstate__(self, state: tuple[object, tuple[int, ...], Type, bool, bytes]) -> None:
        _, self.shape, self.type, self.columns_first, self.content = state

    def array(self) -> NDArray[Any]:
        """The array; ValueError or TypeError if its parts do not fit each other."""
        order: Literal["F", "C"] = "F" if self.columns_first else "C"
        return np.frombuffer(self.content, self.type.numpy()).reshape(self.shape, order=order)


class Type:
    """The type of an array's elements as it lies in a file."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        self.name, self.order = _text(name), "="

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = _text(state[1])

    def numpy(self) -> np.dtype[Any]:
        """NumPy's; ValueError for what are not numbers."""
        if (
            self.name[:1] not in tuple("biuf")
            or not self.name[1:].isdigit()
            or self.order not in tuple("<>|=")
        ):
            raise ValueError(f"an array has elements of type {self.name[:20]}")
        return np.dtype(self.order + self.name)


def _text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else value


def _from_buffer(content: bytes, kind: Type, shape: tuple[int, ...], order: str, *_: object) -> Stored:
    stored = Stored()
    stored.__setstate__((None, shape, kind, order == "F", content))
    return stored


def _scalar(kind: Type, content: bytes) -> Any:
    return _from_buffer(content, kind, (), "C").array().item()


def _encode(text: str, coding: str) -> bytes:
    if coding != "latin1":
        raise pickle.UnpicklingError(f"it has bytes as {coding[:20]}")
    return text.encode("latin1")


def _known() -> Mapping[tuple[str, str], Callable[..., Any]]:
    known: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): Stored,
        ("numpy", "dtype"): Type,
        ("_codecs", "encode"): _encode,
    }
    for core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
        known[core + ".multiarray", "_reconstruct"] = lambda *_: Stored()
        known[core + ".multiarray", "scalar"] = _scalar
        known[core + ".numeric", "_frombuffer"] = _from_buffer
    return MappingProxyType(known)


class _Reader(pickle.Unpickler):
    KNOWN = _known()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"it wants to load {module}.{name}")
        return self.KNOWN[module, name]
