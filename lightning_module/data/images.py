"""What training needs of a data set, wherever its images lie, and the one function that opens it."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from lightning_module.data import arrays, found
from lightning_module.data.config import AnyData, ArraysConfig, DataConfig, ImageNetConfig
from lightning_module.data.stream import Images, Normalisation, TrainStream
from lightning_module.support.errors import ConfigError

Views = tuple[list[Tensor], Tensor]
"""Held-out images to classify: tensors float32 [B, views, C, height, width], and labels int64 [B]. An image's class
is that of the mean probabilities over its views."""


class Stream(Protocol):
    """The training batches of one process."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 [share, C, H, W] and labels int64 [share]: a function of (seed, step) and the process."""


class Source(Protocol):
    """A data set. Each process gets its own share of every training batch and of every test."""

    @property
    def remark(self) -> str:
        """What a user should know of its files, in one sentence; empty if they are as expected."""

    @property
    def classes(self) -> int:
        """Number of labels, and of the network's outputs."""

    @property
    def train_images(self) -> int:
        """Number of training images; an epoch sees each once."""

    def checksum(self) -> str:
        """CRC-32 of all images and labels, eight hexadecimal digits; "" where they are too many to be read."""

    @property
    def final_tests(self) -> tuple[str, ...]:
        """Those of the tests that are only made after the last epoch."""

    def stream(
        self, *, batch_size: int, seed: int, rank: int, processes: int, device: torch.device
    ) -> Stream:
        """The training batches of one process; batch_size is that of all together."""

    def tests(
        self, *, batch_size: int, rank: int, processes: int, device: torch.device
    ) -> dict[str, Iterable[Views]]:
        """What is tested, by the name its metrics start with; image i comes once, in order, in process i % processes.

        batch_size is that of one process, and at most so many images of 32x32 pixels are given at once.
        """

    def sample(self) -> Tensor:
        """Some test images, normalised, float32 [B, C, H, W]: the same ones each time."""


SAMPLE = 1000
"""Test images for the layer responses."""


@dataclass(frozen=True)
class DataSet:
    """Images in memory. others: what is tested too, by the name of its metrics, such as "validation"."""

    config: DataConfig | ArraysConfig
    train: Images
    test: Images
    others: Mapping[str, Images] = field(default_factory=dict)
    remark: str = ""

    @property
    def classes(self) -> int:
        """Number of labels, known from the configuration."""
        return self.config.classes

    @property
    def train_images(self) -> int:
        """Number of training images, those held out for validation not counted."""
        return len(self.train)

    def checksum(self) -> str:
        """Of all images and labels in memory, whatever files they came from."""
        crc = 0
        for part in (self.train, *self.others.values(), self.test):
            for tensor in (part.images, part.labels):
                crc = zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().data, crc)
        return f"{crc:08x}"

    @property
    def final_tests(self) -> tuple[str, ...]:
        """No test: all are made after every epoch."""
        return ()

    @functools.cached_property
    def normalisation(self) -> Normalisation:
        """With the statistics of the training images."""
        return Normalisation(self.train, self.config)

    def stream(
        self, *, batch_size: int, seed: int, rank: int, processes: int, device: torch.device
    ) -> TrainStream:
        """Batches made on the device."""
        return TrainStream(
            self.train.to(device),
            self.normalisation.to(device),
            self.config,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            processes=processes,
        )

    def tests(
        self, *, batch_size: int, rank: int, processes: int, device: torch.device
    ) -> dict[str, Iterable[Views]]:
        """One view of each image, as it is, kept on the device."""
        return {
            name: _Part(
                Images(part.images[rank::processes], part.labels[rank::processes]).to(device),
                self.normalisation.to(device),
                batch_size,
            )
            for name, part in {"test": self.test, **self.others}.items()
        }

    def sample(self) -> Tensor:
        """The first SAMPLE test images."""
        return self.normalisation(self.test.images[:SAMPLE])


@dataclass(frozen=True)
class _Part:
    images: Images
    normalisation: Normalisation
    batch_size: int

    def __iter__(self) -> Iterator[Views]:
        for start in range(0, len(self.images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield [self.normalisation(self.images.images[part])[:, None]], self.images.labels[part]


VALIDATION_IMAGES = 5000


@functools.lru_cache(maxsize=2)
def load(config: AnyData) -> Source:
    """The data set of a configuration; kept, so that the cells of a sweep read it once.

    Raises ConfigError when it cannot be had.
    """
    if isinstance(config, ImageNetConfig):
        from lightning_module.data import imagenet

        return imagenet.load(config)
    if isinstance(config, ArraysConfig):
        return _of_arrays(config)
    from lightning_module.data import cifar, digits

    data = digits.load(config) if config.name == "digits" else cifar.load(config)
    if config.train == "45k":
        # 1512.03385 does not say which 5,000 images are held out: here the last ones of the training files.
        train, cut = data.train, len(data.train) - VALIDATION_IMAGES
        if cut < 1:
            raise ConfigError(
                f"data.train=45k holds out {VALIDATION_IMAGES:,} training images, but data.root={config.root} has "
                f"only {len(train):,}; say data.train=all"
            )
        data = replace(
            data,
            train=Images(train.images[:cut], train.labels[:cut]),
            others={"validation": Images(train.images[cut:], train.labels[cut:])},
        )
    return data


def _of_arrays(config: ArraysConfig) -> DataSet:
    parts = arrays.read(config.root, config.function)
    said = f"data.root={config.root}" if config.root else f"data.function={config.function}"
    found.check(config.content, arrays.found(parts)["content"], said)
    images = {name: Images(*map(torch.from_numpy, part)) for name, part in parts.items()}
    return DataSet(config, images.pop("train"), images.pop("test"), images)
