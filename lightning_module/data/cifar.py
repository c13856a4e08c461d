"""CIFAR-10 and CIFAR-100 from the official "python version" files. Needs no torchvision."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shlex
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lightning_module.data import pickles
from lightning_module.data.config import DataConfig, root_folder
from lightning_module.data.images import DataSet
from lightning_module.data.stream import Images
from lightning_module.support.errors import ConfigError, one_line


@dataclass(frozen=True)
class _Release:
    """One published archive: its address, its files with their MD5 sums, and how labels are called."""

    url: str
    md5: str
    folder: str
    train: dict[str, str]
    test: dict[str, str]
    labels: str

    @property
    def archive(self) -> str:
        """Name of the file at the address."""
        return self.url.rpartition("/")[2]


RELEASES = {
    "cifar10": _Release(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "40351d587109b95175f43aff81a1287e"},
        labels="labels",
    ),
    "cifar100": _Release(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        labels="fine_labels",
    ),
}

OFFICIAL_TRAIN, OFFICIAL_TEST = 50_000, 10_000
"""Images of either release."""

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, 3, 32, 32] and labels [N] of a file."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, which come in the same way as those of a network."""


def load(config: DataConfig) -> DataSet:
    """All images of a release, as uint8.

    An archive that lies in `data.root` is unpacked; without one it is fetched first if `data.download` allows.
    Raises ConfigError, in one sentence, when a file is missing, unreadable, cut short or not the official one.
    """
    release = RELEASES[config.name]
    folder = _folder(release, root_folder(config.root), config)
    train = [_read(folder / name, md5, release, config) for name, md5 in release.train.items()]
    test = [_read(folder / name, md5, release, config) for name, md5 in release.test.items()]
    data = DataSet(config, _join(train), _join(test))
    found, official = (len(data.train), len(data.test)), (OFFICIAL_TRAIN, OFFICIAL_TEST)
    if found == official:
        return data
    return replace(
        data,
        remark=f"data.root={config.root}: {config.name} has {found[0]:,} training and {found[1]:,} test images there, "
        f"the official files have {official[0]:,} and {official[1]:,}",
    )


def _folder(release: _Release, root: Path, config: DataConfig) -> Path:
    """Where the files of a release lie: below `data.root`, or it is that folder itself."""
    folder = root / release.folder
    try:
        for place in (folder, root):
            if any((place / name).exists() for name in (*release.train, *release.test)):
                return place
        if any(folder.iterdir()):
            return folder
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        if root.is_dir():
            return folder
        raise ConfigError(
            f"data.root={config.root} is a file; it must be the folder that holds {release.folder}/ "
            f"or {release.archive}"
        ) from None
    except OSError as error:
        raise ConfigError(f"data.root={config.root} cannot be read ({error.strerror})") from error
    if not config.download and not (root / release.archive).is_file():
        raise ConfigError(_missing(folder, release, config, "; data.download=false forbids fetching it"))
    _install(release, root, config)
    return folder


def _missing(place: Path, release: _Release, config: DataConfig, why: str) -> str:
    return (
        f"data.root={config.root}: there is no {place}{why}; "
        f"get {release.url} and unpack it in {config.root}, or use data=digits, which needs no files"
    )


def _install(release: _Release, root: Path, config: DataConfig) -> None:
    """Unpack the archive, fetched first if there is none; an interrupted or wrong one leaves nothing behind."""
    archive = root / release.archive
    there, had_root = archive.is_file(), root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=root, prefix=".download-")
    except OSError as error:
        unpack = f"; unpack it where you can: tar -xzf {shlex.quote(str(archive))} -C FOLDER and say data.root=FOLDER"
        raise ConfigError(
            f"data.root={config.root} is not a folder one can write to ({error.strerror})" + unpack * there
        ) from error
    try:
        with temporary as folder:
            if not there:
                archive = Path(folder) / release.archive
                _download(archive, release, root, config)
            elif config.verify:
                with _readable(archive, config):
                    _check_sum(
                        archive, _md5(archive), release.md5, "delete it to have it fetched again", config
                    )
            _unpack(archive, Path(folder), release, root, config)
    except ConfigError:
        if not had_root:
            with suppress(OSError):  # another process may need it by now
                root.rmdir()
        raise


def _download(archive: Path, release: _Release, root: Path, config: DataConfig) -> None:
    try:
        with urllib.request.urlopen(release.url, timeout=20) as answer, open(archive, "wb") as file:
            size = int(answer.headers.get("Content-Length", 0))
            with tqdm(total=size, unit="B", unit_scale=True, desc=f"downloading {config.name}") as bar:
                while block := answer.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
    except (OSError, http.client.HTTPException, ValueError) as error:
        _check_room(error, config)
        reason = getattr(error, "reason", error)
        raise ConfigError(
            _missing(root / release.folder, release, config, f" and no network ({reason})")
        ) from error
    if _md5(archive) != release.md5:
        raise ConfigError(f"{release.url} did not arrive whole (wrong MD5 sum); run the command again")


def _unpack(archive: Path, folder: Path, release: _Release, root: Path, config: DataConfig) -> None:
    try:
        if not tarfile.is_tarfile(archive):
            raise ValueError("it is no tar archive")
        unpacked = folder / release.folder
        unpacked.mkdir()
        with tarfile.open(archive) as tar:
            for member in tar:  # extractall(filter="data") is not in every Python 3.11
                name = PurePosixPath(member.name)
                if name.parent == PurePosixPath(release.folder) and (content := tar.extractfile(member)):
                    with content, (unpacked / name.name).open("wb") as file:
                        shutil.copyfileobj(content, file)
            while tar.fileobj and tar.fileobj.read(1 << 20):
                pass  # gzip's checksum comes after what tar looks at
        if not any(unpacked.iterdir()):
            raise ValueError("it holds no such folder")
        os.replace(unpacked, root / release.folder)
    except Exception as error:  # whatever a cut or foreign file makes the decompressors do
        if getattr(error, "errno", None) in (errno.ENOTEMPTY, errno.EEXIST):
            return  # another process was faster; its files are as good
        _check_room(error, config)
        raise ConfigError(
            f"data.root={config.root}: {archive} cannot be unpacked to {release.folder}/ ({one_line(error)}); "
            "delete it to have it fetched again"
        ) from error


def _check_room(error: Exception, config: DataConfig) -> None:
    number = getattr(error, "errno", None)
    if number in NO_ROOM:
        raise ConfigError(
            f"data.root={config.root} has no room for {config.name} ({os.strerror(number)}); "
            "it takes 400 MB while it is unpacked"
        ) from error


@contextmanager
def _readable(path: Path, config: DataConfig) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"data.root={config.root}: {path} cannot be read ({error.strerror})") from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _check_sum(path: Path, found: str, official: str, otherwise: str, config: DataConfig) -> None:
    if found != official:
        raise ConfigError(
            f"data.root={config.root}: {path} has MD5 sum {found}, the official file has {official}; {otherwise}, "
            "or set data.verify=false if it is a re-encoded copy on purpose"
        )


def _read(path: Path, md5: str, release: _Release, config: DataConfig) -> Part:
    with _readable(path, config):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ConfigError(_missing(path, release, config, ", though its folder exists")) from None
    if config.verify:
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        _check_sum(path, found, md5, "fetch it again", config)
    try:
        return _images(pickles.read(content), release.labels, config)
    except Exception as error:  # whatever a cut or foreign file makes the unpickler do
        raise ConfigError(
            f"data.root={config.root}: {path} is damaged ({one_line(error)}); fetch it again"
        ) from error


def _images(entries: Any, key: str, config: DataConfig) -> Part:
    """The images of one file; ValueError if they are not such, or without a label each."""
    if not isinstance(entries, dict):
        raise ValueError(f"it holds a {type(entries).__name__}, no dictionary")
    texts = {
        name.decode("latin1") if isinstance(name, bytes) else name: value for name, value in entries.items()
    }
    if len(texts) < len(entries):
        raise ValueError("it has a key twice, as text and as bytes")
    for name in ("data", key):
        if name not in texts:
            raise ValueError(f"it has no {name} but only {', '.join(sorted(map(str, texts)))[:100]}")
    pixels, labels = (
        value.array() if isinstance(value, pickles.Stored) else np.array(value)
        for value in (texts["data"], texts[key])
    )
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(
            f"its {key} have shape {labels.shape} and type {labels.dtype}; they are a list of numbers"
        )
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
        raise ValueError(
            f"images of shape {pixels.shape} and type {pixels.dtype} for {len(labels)} labels; "
            f"they have shape ({len(labels)}, 3072) and type uint8"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= config.classes))
    if len(wrong):
        raise ValueError(
            f"image {wrong[0]} has label {labels[wrong[0]]}, but those of {config.name} "
            f"go from 0 to {config.classes - 1}"
        )
    return pixels.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _join(parts: Sequence[Part]) -> Images:
    images, labels = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))
    return Images(images, labels)
