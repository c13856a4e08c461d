"""What is learned from, as typed and checked values; see conf/data/. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning_module.support.check import at_least, between, interval, per_channel
from lightning_module.support.errors import ConfigError

LARGEST = 2**27
"""Pixels of a test image: 400 MB as bytes."""


def root_folder(root: str) -> Path:
    """The folder that `data.root` says, `~` in it replaced; ConfigError if it cannot be one."""
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"data.root={root}: there is no home folder of {root.partition('/')[0]}") from error


def _check_constants(mean: tuple[float, ...], deviation: tuple[float, ...], channels: int = 3) -> None:
    """ConfigError unless they normalise pixels from 0 to 255; libraries whose pixels go to 1 publish smaller ones."""
    constants = {"data.mean": mean, "data.deviation": deviation}
    for key, values in constants.items():
        per_channel(key, values, 0 if key == "data.mean" else 1e-6, channels)
    small = {key: values for key, values in constants.items() if 0 < max(values) < 1}
    if small:
        said, meant = (
            " and ".join(
                f"{key}=[{','.join(f'{value * factor:.7g}' for value in values)}]"
                for key, values in small.items()
            )
            for factor in (1, 255)
        )
        raise ConfigError(f"{said} would fit pixels from 0 to 1; here they go from 0 to 255: say {meant}")
    if max(mean) > 255:
        raise ConfigError(f"data.mean={list(mean)} is not a colour; the largest valid value is 255")


@dataclass(frozen=True, kw_only=True)
class SmallImages:
    """Small images that are kept in memory: how the network sees them."""

    normalisation: Literal["per_pixel_mean", "per_channel", "per_image", "constants", "none"]
    padding: int
    flip: bool
    scale: float = 255.0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    padding_with: Literal["mean", "black"] = "mean"
    largest_offset: int | None = None
    contrast: float = 0.0

    def check(self, channels: int, image_size: tuple[int, int]) -> None:
        """ConfigError for what does not go together, or not with images of these channels, height and width."""
        between(self, "data", "padding", minimum=0, maximum=min(image_size))
        at_least(self, "data", "contrast", minimum=0)
        at_least(self, "data", "scale", minimum=1e-6)
        if self.normalisation == "constants":
            _check_constants(self.mean, self.deviation, channels)
        elif self.mean or self.deviation:
            raise ConfigError(
                "data.mean and data.deviation need data.normalisation=constants; else they are []"
            )
        if self.scale != 255 and self.normalisation not in ("per_pixel_mean", "none"):
            raise ConfigError(
                f"data.scale={self.scale} needs data.normalisation=per_pixel_mean or none; else it is 255"
            )
        if self.padding_with == "mean" and (self.normalisation == "per_image" or self.contrast):
            raise ConfigError(
                "data.normalisation=per_image and data.contrast look at the crop; they need data.padding_with=black"
            )
        if self.largest_offset is not None and not 0 <= self.largest_offset <= 2 * self.padding:
            raise ConfigError(
                f"data.largest_offset={self.largest_offset} is not allowed; "
                f"with data.padding={self.padding} it lies between 0 and {2 * self.padding}, and null is the latter"
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig(SmallImages):
    """A published data set of small images."""

    name: Literal["digits", "cifar10", "cifar100"]
    train: Literal["all", "45k"]
    root: str = "data"
    verify: bool = True
    download: bool = True

    def __post_init__(self) -> None:
        root_folder(self.root)
        self.check(self.channels, self.image_size)
        if self.train == "45k" and self.name == "digits":
            raise ConfigError("data.train=45k is a split of CIFAR; digits allow data.train=all")

    @property
    def classes(self) -> int:
        """Number of labels, known before any file is read."""
        return 100 if self.name == "cifar100" else 10

    @property
    def train_images(self) -> int:
        """Number of images to train on in the official files."""
        return 1442 if self.name == "digits" else 45_000 if self.train == "45k" else 50_000

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (8, 8) if self.name == "digits" else (32, 32)

    @property
    def channels(self) -> int:
        """Red, green and blue: grey is repeated."""
        return 3


@dataclass(frozen=True, kw_only=True)
class ArraysConfig(SmallImages):
    """A user's own images, from a file or a function: see arrays.py.

    What stands below `function` is found in them, and nobody types it. shape: channels, height and width.
    """

    name: Literal["arrays"]
    root: str | None
    function: str | None
    content: str
    classes: int
    train_images: int
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        self.check(self.channels, self.image_size)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.shape[1], self.shape[2]

    @property
    def channels(self) -> int:
        """Of every image."""
        return self.shape[0]


@dataclass(frozen=True)
class ImageNetConfig:
    """Photographs in folders, one per class, decoded as they are needed."""

    name: Literal["imagenet", "folder"]
    root: str
    classes: int
    size: int
    crop: Literal["scale", "area"]
    short_side: tuple[int, ...]
    area: tuple[float, ...]
    aspect: tuple[float, ...]
    interpolation: Literal["bilinear", "bicubic"]
    flip: bool
    pca: float
    jitter: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    test_short_side: int
    test_scales: tuple[int, ...]
    final_tests: tuple[Literal["ten_crop", "multi_scale", "crop_320"], ...]
    workers: int
    content: str = ""
    """Of `folder` a checksum of all files, which nobody types."""

    def __post_init__(self) -> None:
        root_folder(self.root)
        at_least(self, "data", "size")
        at_least(self, "data", "classes", minimum=2)
        at_least(self, "data", "pca", "workers", minimum=0)
        between(self, "data", "jitter", minimum=0, maximum=1)
        interval("data.short_side", self.short_side, self.size)
        interval("data.area", self.area, 1e-6)
        interval("data.aspect", self.aspect, 1e-6)
        if self.area[1] > 1:
            raise ConfigError(
                f"data.area={list(self.area)} is not a part of the image; the largest valid value is 1"
            )
        _check_constants(self.mean, self.deviation)
        at_least(self, "data", "test_short_side", minimum=self.size)
        if "multi_scale" in self.final_tests and (not self.test_scales or min(self.test_scales) < 1):
            raise ConfigError(f"data.test_scales={list(self.test_scales)} is not a list of sizes in pixels")
        if self.test_scales and max(self.test_scales) ** 2 > LARGEST:
            raise ConfigError(
                f"data.test_scales={list(self.test_scales)} would fill the memory; "
                f"the largest valid size is {math.isqrt(LARGEST)}"
            )
        if len(set(self.final_tests)) < len(self.final_tests):
            raise ConfigError(f"data.final_tests={list(self.final_tests)} names one twice")

    @property
    def train_images(self) -> None:
        """Number of images to train on: not known before the folders are read."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of what the network is trained on, in pixels."""
        return self.size, self.size

    @property
    def channels(self) -> int:
        """Red, green and blue, whatever a file has."""
        return 3


OWN = ("arrays", "folder")
"""Names of data that are a user's own: what they hold is found when a cell is planned (found.py)."""

AnyData = DataConfig | ArraysConfig | ImageNetConfig
