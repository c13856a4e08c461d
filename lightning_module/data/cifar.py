"""CIFAR-10 and CIFAR-100 from the official "python version" files. Needs no torchvision."""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import os
import pickle
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lightning_module.data.config import DataConfig
from lightning_module.data.images import DataSet
from lightning_module.data.stream import Images
from lightning_module.support.errors import ConfigError


@dataclass(frozen=True)
class _Release:
    """One published archive: its address, its files with their MD5 sums, and how labels are called."""

    url: str
    md5: str
    folder: str
    train: dict[str, str]
    test: dict[str, str]
    labels: bytes


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
        labels=b"labels",
    ),
    "cifar100": _Release(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        labels=b"fine_labels",
    ),
}

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, which come in the same way as those of a network."""


class _DataUnpickler(pickle.Unpickler):
    """Reads arrays, lists and strings only: a data file must not be able to run code."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it wants to load {module}.{name}")
        return super().find_class(module, name)


def load(config: DataConfig) -> DataSet:
    """All images of a release, as uint8; fetched first if they are missing and `data.download` allows.

    Raises ConfigError, in one sentence, when a file is missing, unreadable, cut short or not the official one.
    """
    release = RELEASES[config.name]
    root = Path(config.root).expanduser()
    folder = root / release.folder
    try:
        folder.stat()
    except NotADirectoryError:
        raise ConfigError(
            f"data.root={config.root} is a file; it must be the folder that holds {release.folder}/"
        ) from None
    except FileNotFoundError:
        if not config.download:
            raise ConfigError(
                _missing(folder, release, config, "data.download=false forbids fetching them")
            ) from None
        _download(release, root, config)
    except OSError as error:
        raise ConfigError(f"data.root={config.root} cannot be read ({error.strerror})") from error
    train = [_read(folder / name, md5, release, config) for name, md5 in release.train.items()]
    test = [_read(folder / name, md5, release, config) for name, md5 in release.test.items()]
    return DataSet(config, _join(train), _join(test))


def _missing(place: Path, release: _Release, config: DataConfig, why: str) -> str:
    return (
        f"data.root={config.root}: there is no {place} and {why}; "
        f"get {release.url} and unpack it in {config.root}, or use data=digits, which needs no files"
    )


def _download(release: _Release, root: Path, config: DataConfig) -> None:
    """Fetch, check and unpack the archive; an interrupted or wrong one leaves nothing behind."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=root, prefix=".download-")
    except OSError as error:
        raise ConfigError(
            f"data.root={config.root} is not a folder one can write to ({error.strerror})"
        ) from error
    with temporary as folder:
        archive = Path(folder) / "archive.tar.gz"
        try:
            with urllib.request.urlopen(release.url, timeout=20) as answer, open(archive, "wb") as file:
                size = int(answer.headers.get("Content-Length", 0))
                with tqdm(total=size, unit="B", unit_scale=True, desc=f"downloading {config.name}") as bar:
                    while block := answer.read(1 << 20):
                        file.write(block)
                        bar.update(len(block))
            if hashlib.md5(archive.read_bytes()).hexdigest() != release.md5:
                raise ConfigError(
                    f"{release.url} did not arrive whole (wrong MD5 sum); run the command again"
                )
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            os.replace(Path(folder) / release.folder, root / release.folder)
        except (OSError, http.client.HTTPException) as error:
            number = getattr(error, "errno", None)
            if number in (errno.ENOTEMPTY, errno.EEXIST):
                return  # another process was faster; its files are as good
            if number in NO_ROOM:
                raise ConfigError(
                    f"data.root={config.root} has no room for {config.name} ({os.strerror(number)}); "
                    "it takes 400 MB while it is unpacked"
                ) from error
            reason = getattr(error, "reason", error)
            raise ConfigError(
                _missing(root / release.folder, release, config, f"no network ({reason})")
            ) from error


def _read(path: Path, md5: str, release: _Release, config: DataConfig) -> tuple[np.ndarray, list[int]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(_missing(path, release, config, "the folder is there without it")) from None
    except OSError as error:
        raise ConfigError(f"data.root={config.root}: {path} cannot be read ({error.strerror})") from error
    if config.verify and (found := hashlib.md5(content).hexdigest()) != md5:
        raise ConfigError(
            f"data.root={config.root}: {path} has MD5 sum {found}, the official file has {md5}; "
            "fetch it again, or set data.verify=false if it is a re-encoded copy on purpose"
        )
    try:
        entries = _DataUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = entries[b"data"], list(entries[release.labels])
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
            raise ValueError(
                f"images of shape {pixels.shape} and type {pixels.dtype} for {len(labels)} labels"
            )
    except Exception as error:  # whatever a cut or foreign file makes the unpickler do
        raise ConfigError(f"data.root={config.root}: {path} is damaged ({error}); fetch it again") from error
    return pixels.reshape(-1, 3, 32, 32), labels


def _join(parts: list[tuple[np.ndarray, list[int]]]) -> Images:
    images = torch.from_numpy(np.concatenate([pixels for pixels, _ in parts]))
    return Images(images, torch.tensor([label for _, labels in parts for label in labels]))
