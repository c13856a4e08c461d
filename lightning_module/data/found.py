"""What a plan finds in a user's own data: keys of the section `data` that stand in a cell and that nobody types.

One of them is `content`, a checksum, which is part of a cell's identity where the path is not.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_module.data import arrays, folders
from lightning_module.data.config import root_folder
from lightning_module.data.folders import Files
from lightning_module.support.check import fit
from lightning_module.support.disk import DiskCache
from lightning_module.support.errors import ConfigError

CACHE = DiskCache("data", [Path(__file__), Path(arrays.__file__)])
"""What was found, by path, size and times of the files."""

SILENT_SECONDS = 2
"""What takes longer shows how far it is."""


def keys(section: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that are found for what was typed of a section `data` whose name is one of OWN.

    Raises ConfigError, in one sentence, for data that cannot be had.
    """
    root, function = (fit(section.get(key), str | None, f"data.{key}") for key in ("root", "function"))
    try:
        if section["name"] == "folder":
            return _in_folder(root)
        if root is None or function is not None:
            return _by_function(root, function)
        path = root_folder(root)
        state = _state([str(path)]) if path.is_file() else ""
        return _kept(state, lambda: arrays.found(arrays.read(root, None)))
    except OSError as error:
        raise ConfigError(f"data.root={root} cannot be read ({error.strerror})") from error


def check(content: str, now: str, said: str) -> None:
    """ConfigError for data that changed since a cell was planned; said: which, as the user wrote it."""
    if now != content:
        raise ConfigError(
            f"{said} changed since this cell was asked for, which is another one now; ask again"
        )


def content(parts: Iterable[Files], root: str) -> str:
    """Checksum of the names and bytes of all images of a folder, read once; root: as the user wrote it."""
    parts = list(parts)
    state = _state(path for _, path in _images(parts))
    return str(_kept(state, lambda: {"content": _checksum(parts, root)})["content"])


@functools.cache
def _by_function(root: str | None, function: str | None) -> dict[str, Any]:
    return arrays.found(arrays.read(root, function))


@functools.cache
def _in_folder(root: str | None) -> dict[str, Any]:
    """Looked for once, since a sweep may have thousands of cells; each looks again when it is trained."""
    if root is None:
        raise ConfigError("data=folder needs data.root=FOLDER, which holds train/<class>/* and val/<class>/*")
    classes, parts, _ = folders.read(root)
    return {"content": content(parts.values(), root), "classes": len(classes)}


def _kept(state: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    kept = CACHE.get(state)
    known: dict[str, Any] = kept if isinstance(kept, dict) else find()
    if state and kept is not known:
        CACHE.put(state, known)
    return known


def _state(paths: Iterable[str]) -> str:
    """What changes when a file does. The last time is the system's own, which a copy cannot keep."""
    digest = hashlib.sha256()
    for path in paths:
        about = os.stat(path)
        times = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
        digest.update(os.fsencode(os.path.abspath(path)) + f"\0{times}\n".encode())
    return digest.hexdigest()


def _images(parts: Iterable[Files]) -> Iterator[tuple[bytes, str]]:
    """The name of every image below the folder, and its path."""
    for files in parts:
        for name in files.paths:
            yield os.fsencode(files.root.name) + b"/" + name, os.path.join(files.root, os.fsdecode(name))


def _checksum(parts: list[Files], root: str) -> str:
    digest = hashlib.sha256()
    bar = tqdm(
        _images(parts),
        desc=f"data.root={root}: checksum of all images, once",
        total=sum(map(len, parts)),
        delay=SILENT_SECONDS,
    )
    for name, path in bar:
        with open(path, "rb") as file:
            digest.update(name + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
