"""Images in folders, one folder per class: which there are, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_module.data import decode
from lightning_module.data.config import root_folder
from lightning_module.support.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = tuple(decode.FORMATS)
NO_IMAGE = f"files without one of the endings {' '.join(ENDINGS)}"


@dataclass(frozen=True)
class Files:
    """Images of one part. Paths are one array of bytes: a million strings would be copied into every worker."""

    root: Path
    paths: NDArray[np.bytes_]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def open(self, index: int) -> AbstractContextManager[Image]:
        """A decoded image, in colour; ImageError if it cannot be read or worked with."""
        return decode.image(self.root / os.fsdecode(self.paths[index]))


@dataclass
class LeftOut:
    """What lies in the folders and is not read: how much of each kind, and an example."""

    root: Path
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, path: str) -> None:
        """Count one more."""
        self.counts[kind] += 1
        self.examples.setdefault(kind, os.path.relpath(path, self.root))

    def update(self, other: LeftOut) -> None:
        """Count what another has counted too."""
        self.counts.update(other.counts)
        self.examples = {**other.examples, **self.examples}

    def __str__(self) -> str:
        kinds = (f"{kind} ({count:,}, such as {self.examples[kind]})" for kind, count in self.counts.items())
        return "left out are " + ", ".join(kinds)


def read(root: str, classes: int | None = None) -> tuple[list[str], dict[str, Files], LeftOut]:
    """The names of the classes, the images of `train` and of `val`, and what is left out.

    Raises ConfigError, in one sentence, for what is missing or does not fit. root: data.root as the user wrote it;
    classes: how many there must be, if that is known.
    """
    folder = root_folder(root)
    left_out = LeftOut(folder)
    train, val = (class_names(folder / part, root, left_out) for part in ("train", "val"))
    if classes is not None and len(train) != classes:
        raise ConfigError(
            f"data.classes={classes} but {folder / 'train'} has {len(train)} class folders; "
            f"set data.classes={len(train)}"
        )
    if train != val:
        odd = min(set(train) ^ set(val))
        raise ConfigError(
            f"data.root={root}: train and val must have the same classes; "
            f"{odd} is in one only, {'train' if odd in train else 'val'}"
        )
    if len(train) < 2:
        raise ConfigError(f"data.root={root}: there is one class, {train[0]}; there must be two at least")
    return train, {part: find(folder / part, train, root, left_out) for part in ("train", "val")}, left_out


def class_names(folder: Path, root: str, left_out: LeftOut) -> list[str]:
    """The folders in `train` or `val`, in order of their labels. Dot folders and dot files are nobody's data.

    Raises ConfigError if there are none, or one cannot be read. root: data.root as the user wrote it.
    """
    names = []
    for entry in _entries(folder, root):
        if _is_folder(entry, root):
            names.append(entry.name)
        else:
            left_out.add("files beside the class folders", entry.path)
    if not names:
        raise ConfigError(f"data.root={root}: {folder} holds no folders; there must be one for each class")
    return names


def find(folder: Path, classes: list[str], root: str, left_out: LeftOut) -> Files:
    """The images of `train` or `val`; ConfigError if a class has none."""
    paths: list[bytes] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        here, other = [], LeftOut(left_out.root)
        for entry in _entries(folder / name, root):
            if _is_folder(entry, root):
                for path in _files_below(Path(entry.path), root):
                    other.add("images in sub-folders of a class" if _is_image(path) else NO_IMAGE, path)
            elif _is_image(entry.name):
                here.append(os.fsencode(f"{name}/{entry.name}"))
            else:
                other.add(NO_IMAGE, entry.path)
        if not here:
            only = f"; {other}" if other.counts else ""
            raise ConfigError(
                f"data.root={root}: {folder / name} holds no images; their names end in {', '.join(ENDINGS)}{only}"
            )
        left_out.update(other)
        paths += here
        labels += [label] * len(here)
    return Files(folder, np.array(paths), np.array(labels))


@contextmanager
def _readable(folder: Path, root: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"data.root={root}: {folder} cannot be read ({error.strerror}); "
            "data.root must be the folder that holds train/<class>/* and val/<class>/*"
        ) from error


def _entries(folder: Path, root: str) -> list[os.DirEntry[str]]:
    with _readable(folder, root), os.scandir(folder) as entries:
        return sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str], root: str) -> bool:
    """False for a file; ConfigError for what is neither: a link to nothing or to itself, a pipe to wait for."""
    with _readable(Path(entry.path), root):
        if entry.is_dir() or entry.is_file():
            return entry.is_dir()
    raise ConfigError(
        f"data.root={root}: {entry.path} is neither a file nor a folder, nor a link to one that exists"
    )


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def _files_below(folder: Path, root: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    with _readable(folder, root):
        for parent, folders, files in os.walk(folder, onerror=refuse):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            yield from (os.path.join(parent, file) for file in sorted(files) if file[0] != ".")
