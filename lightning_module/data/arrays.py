"""A user's own images as arrays, from a file of NumPy or from a function of theirs. Needs no torch.

The names are those of MedMNIST's files: `train_images`, uint8 [N, height, width] or [N, height, width, channels], with
`train_labels`, whole numbers [N] or [N, 1]; `test_images` and `test_labels`; and any other split in the same way.
"""

from __future__ import annotations

import functools
import hashlib
import json
import types
import zipfile
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_module.data.config import root_folder
from lightning_module.support import own_code
from lightning_module.support.errors import ConfigError, closest, nearest, one_line

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, channels, height, width] and labels [N] of a split."""

IMAGES, LABELS = "_images", "_labels"
NEEDED = ("train", "test")


def read(root: str | None, function: str | None) -> dict[str, Part]:
    """The splits of a file or of what a function returns, `train` and `test` first.

    Raises ConfigError, in one sentence, for what is missing or wrong.
    """
    if root is not None and function is None:
        return _splits(_of_file(root), f"data.root={root}")
    if function is not None and root is None:
        return _of_function(function)
    raise ConfigError(
        "data=arrays needs data.root=FILE.npz or data.function=MODULE.FUNCTION"
        + (", and not both" if root else "")
    )


def found(parts: Mapping[str, Part]) -> dict[str, Any]:
    """What a cell must know of them: the keys of ArraysConfig that nobody types."""
    digest = hashlib.sha256()
    for name, (images, labels) in sorted(parts.items()):
        digest.update(json.dumps([name, images.shape]).encode())
        digest.update(images.data)
        digest.update(labels.astype("<i8").data)
    images, labels = parts["train"]
    return {
        "content": digest.hexdigest()[:12],
        "classes": int(labels.max()) + 1,
        "train_images": len(labels),
        "shape": list(images.shape[1:]),
    }


def _module(function: str) -> types.ModuleType:
    path, _, name = function.rpartition(".")
    if not path or not name.isidentifier():
        raise ConfigError(
            f"data.function={function} is no import path of a function, such as my_lab.data.load"
        )
    loaded = own_code.load(path, f"data.function={function}")
    if loaded is None:
        raise ConfigError(
            f"data.function={function}: there is no module {path} that can be imported from here, such as my_lab.data"
        )
    return loaded


@functools.lru_cache(maxsize=1)
def _of_function(function: str) -> dict[str, Part]:
    """Kept, so that a plan and the training after it call the function once."""
    lab, name, said = _module(function), function.rpartition(".")[2], f"data.function={function}"
    if not callable(call := getattr(lab, name, None)):
        own = [key for key, value in vars(lab).items() if isinstance(value, types.FunctionType)]
        raise ConfigError(f"{said}: {lab.__name__} has no function {name}; {nearest(name, own)}")
    try:
        arrays = call()
    except Exception as error:  # somebody's program: whatever is wrong with it is bad input
        raise ConfigError(f"{said} raised {type(error).__name__}: {one_line(error)}") from error
    wrong = "" if isinstance(arrays, Mapping) else type(arrays).__name__
    for key, value in arrays.items() if not wrong else ():
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            wrong = f"a dictionary with {key!r}: {type(value).__name__}"
    if wrong:
        raise ConfigError(f"{said} returned {wrong}; it must return a dictionary of NumPy arrays: {_names()}")
    return _splits(arrays, said)


def _of_file(root: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file, those of no split left out; nothing in it is unpickled, which would run what it says."""
    path = root_folder(root)
    if path.is_dir():
        raise ConfigError(
            f"data.root={root} is a folder; data=arrays reads a file that numpy.savez wrote, and data=folder a folder "
            "of images"
        )
    if not path.exists():
        meant = closest(path.name, [other.name for other in path.parent.glob("*.npz")])
        near = f"; did you mean {path.with_name(meant)}?" if meant else ""
        raise ConfigError(f"data.root={root}: there is no such file{near}")
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            raise ConfigError(f"data.root={root} is not a whole .npz file, as numpy.savez writes it")
        with np.load(path, allow_pickle=False) as file:
            _split_names(file.files, f"data.root={root}")
            return {key: file[key] for key in file.files if key.endswith((IMAGES, LABELS))}
    except ConfigError:
        raise
    except Exception as error:  # whatever a cut or foreign file makes the decompressors do
        reason = (
            "it holds Python objects, which can run programs: save arrays of numbers"
            if "allow_pickle" in str(error)
            else one_line(error)
        )
        raise ConfigError(f"data.root={root} cannot be read ({reason})") from error


def _names() -> str:
    return ", ".join(split + kind for split in NEEDED for kind in (IMAGES, LABELS))


def _splits(arrays: Mapping[str, NDArray[Any]], said: str) -> dict[str, Part]:
    """The checked splits of such arrays; said: where they are from, as the user wrote it."""
    parts = {
        split: (
            _images(arrays[split + IMAGES], f"{said}: {split}{IMAGES}"),
            _labels(arrays[split + LABELS], f"{said}: {split}{LABELS}"),
        )
        for split in _split_names(arrays, said)
    }
    _check_together(parts, said)
    return parts


def _split_names(keys: Collection[str], said: str) -> list[str]:
    """The splits that arrays of these names are of; ConfigError if one lacks its images or its labels."""
    others = {key.removesuffix(kind) for key in keys for kind in (IMAGES, LABELS) if key.endswith(kind)}
    splits = [*NEEDED, *sorted(others - set(NEEDED))]
    for name in (split + kind for split in splits for kind in (IMAGES, LABELS)):
        if name not in keys:
            there = ", ".join(sorted(keys)) or "nothing"
            near = closest(name, [key for key in keys if not key.endswith((IMAGES, LABELS))])
            raise ConfigError(f"{said} has no {name} but {there}" + (f"; is {near} meant?" if near else ""))
        if not name.isidentifier():
            raise ConfigError(f"{said}: {name} is of no split; its name has letters, digits and _ alone")
    return splits


def _images(images: NDArray[Any], said: str) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        to_one = images.dtype.kind == "f" and images.size and images.max() <= 1
        say = f"({'255 * ' * bool(to_one)}images).astype('uint8')".replace("(images)", "images")
        raise ConfigError(f"{said} are {images.dtype}; they must be uint8 from 0 to 255: say {say}")
    if images.ndim not in (3, 4):
        raise ConfigError(
            f"{said} have the shape {list(images.shape)}; it must be [N, height, width] or [N, height, width, channels]"
        )
    if not images.size:
        raise ConfigError(f"{said} have the shape {list(images.shape)}: there are none")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise ConfigError(
            f"{said} have the shape {list(images.shape)}; the channels come last: say images.transpose(0, 2, 3, 1)"
        )
    first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.array(first, order="C")  # one's own, which torch may write to


def _labels(labels: NDArray[Any], said: str) -> NDArray[np.int64]:
    if labels.dtype.kind not in "iu":
        raise ConfigError(
            f"{said} are {labels.dtype}; they must be whole numbers, which count the classes from 0"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ConfigError(
            f"{said} have the shape {list(labels.shape)}; an image has one label: [N] or [N, 1]"
        )
    counted = np.array(labels, dtype=np.int64)
    if counted.size and counted.min() < 0:
        raise ConfigError(f"{said} go down to {counted.min()}; they count the classes from 0")
    return counted


def _check_together(parts: Mapping[str, Part], said: str) -> None:
    """ConfigError for splits that do not go together, or with which nothing can be learned."""
    train, train_labels = parts["train"]
    for split, (images, labels) in parts.items():
        if len(images) != len(labels):
            raise ConfigError(
                f"{said} has {len(images):,} {split}{IMAGES} but {len(labels):,} {split}{LABELS}; each has one"
            )
    classes = int(train_labels.max()) + 1
    if len(np.unique(train_labels)) < 2:
        raise ConfigError(
            f"{said}: all train_labels are {train_labels[0]}; there must be two classes at least"
        )
    if classes > len(train_labels):
        raise ConfigError(
            f"{said}: train_labels go up to {classes - 1:,}, more than there are images; count the classes 0, 1, 2, ..."
        )
    for split, (images, labels) in parts.items():
        if images.shape[1:] != train.shape[1:]:
            channels, height, width = (
                f"{a} and {b}" for a, b in zip(train.shape[1:], images.shape[1:], strict=True)
            )
            raise ConfigError(
                f"{said}: images of train and {split} must be alike, but their heights are {height}, widths {width}, "
                f"channels {channels}"
            )
        if labels.max() >= classes:
            raise ConfigError(
                f"{said}: {split}{LABELS} go up to {labels.max()}, those of train only to {classes - 1}"
            )
