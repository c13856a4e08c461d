"""Photographs in folders, `train/<class>/*` and `val/<class>/*`: decoded by worker processes ahead of need.

As in memory (stream.py), a training batch is a function of (seed, step): the places of an endless stream are
numbered, and whatever happens to the image at a place is drawn from a generator seeded by (seed, place).
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_module.data import folders, found
from lightning_module.data.config import ImageNetConfig
from lightning_module.data.folders import Files
from lightning_module.data.images import Views
from lightning_module.data.photographs import centre_crop, colours, ten_crops, train_view, whole
from lightning_module.data.stream import generator
from lightning_module.support.errors import ConfigError

LARGER_CROP = 320
"""Pixels of the test crop_320, and of the short side that it is cut from."""

SAMPLE = 64
"""Test images for the layer responses."""

Place = tuple[int, int]
"""A number in the endless stream, and the image that is there."""


def load(config: ImageNetConfig) -> ImageNet:
    """The folders' files, listed and counted.

    Raises ConfigError, in one sentence, when Pillow, a folder or images are missing.
    """
    if not importlib.util.find_spec("PIL"):
        raise ConfigError(
            f'data={config.name} needs Pillow; install it: pip install "residual-ablations[imagenet]"'
        )
    _, files, left_out = folders.read(config.root, None if config.content else config.classes)
    if config.content:
        found.check(config.content, found.content(files.values(), config.root), f"data.root={config.root}")
    remark = f"data.root={config.root}: {left_out}" if left_out.counts else ""
    return ImageNet(config, **files, remark=remark)


@dataclass(frozen=True)
class ImageNet:
    """A Source (images.py); nothing is decoded before it is asked for."""

    config: ImageNetConfig
    train: Files
    val: Files
    remark: str

    def checksum(self) -> str:
        """None: reading all files takes longer than many a cell."""
        return ""

    @property
    def classes(self) -> int:
        """Number of folders below train/, and of labels."""
        return self.config.classes

    @property
    def train_images(self) -> int:
        """Number of files below train/."""
        return len(self.train)

    @property
    def final_tests(self) -> tuple[str, ...]:
        """Tests with many views of an image."""
        return tuple(f"test_{name}" for name in self.config.final_tests)

    def stream(
        self, *, batch_size: int, seed: int, rank: int, processes: int, device: torch.device
    ) -> ImageStream:
        """Batches decoded by workers of this process."""
        return ImageStream(self.train, self.config, batch_size, seed, rank, processes, device)

    def tests(
        self, *, batch_size: int, rank: int, processes: int, device: torch.device
    ) -> dict[str, Iterable[Views]]:
        """The centre crop, and after the last epoch the final tests."""
        pixels = batch_size * 32 * 32
        crops = max(1, pixels // self.config.size**2)
        larger = max(1, pixels // LARGER_CROP**2)
        sizes = {"test": crops, "test_ten_crop": max(1, crops // 10), "test_crop_320": larger}
        return {
            name: _Test(
                _Views(self.val, self.config, name),
                sizes.get(name, 1),
                range(rank, len(self.val), processes),
                device,
            )
            for name in ("test", *self.final_tests)
        }

    def sample(self) -> Tensor:
        """Centre crops of images from all over the test set."""
        views = _Views(self.val, self.config, "test")
        chosen = np.linspace(0, len(self.val) - 1, min(SAMPLE, len(self.val))).round().astype(int)
        pixels = torch.cat([views[int(index)][0][0] for index in chosen])
        return _normalised(pixels, self.config)


class ImageStream:
    """Training batches in the order of their steps, decoded ahead; another order is right, only slow."""

    def __init__(
        self,
        files: Files,
        config: ImageNetConfig,
        batch_size: int,
        seed: int,
        rank: int,
        processes: int,
        device: torch.device,
    ) -> None:
        self.files, self.config, self.seed, self.device = files, config, seed, device
        self.batch_size, self.share, self.rank = batch_size, batch_size // processes, rank
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._next: int | None = None
        self._batches: Iterator[tuple[Tensor, Tensor, Tensor]] = iter(())

    def places(self, step: int) -> list[Place]:
        """This process's part of a step (0, 1, ...)."""
        start = step * self.batch_size + self.rank * self.share
        pairs = ((number, divmod(number, len(self.files))) for number in range(start, start + self.share))
        return [(number, int(self._order(epoch)[place])) for number, (epoch, place) in pairs]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """float32 [share, 3, size, size] and int64 [share]."""
        if step != self._next:
            self._batches = iter(
                DataLoader(
                    _Augmented(self.files, self.config, self.seed),
                    batch_sampler=map(self.places, itertools.count(step)),
                    num_workers=self.config.workers,
                    pin_memory=self.device.type == "cuda",
                )
            )
        self._next = step + 1
        pixels, change, labels = (part.to(self.device, non_blocking=True) for part in next(self._batches))
        return _normalised(pixels, self.config, change), labels

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if key >= epoch - 1}
            self._orders[epoch] = torch.randperm(
                len(self.files), generator=generator(self.seed, 1, epoch)
            ).numpy()
        return self._orders[epoch]


@functools.cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """float32 [1, 3, 1]; kept, since copying it to a GPU makes the host wait."""
    return torch.tensor(values, device=device).view(1, 3, 1)


def _normalised(pixels: Tensor, config: ImageNetConfig, change: Tensor | None = None) -> Tensor:
    """uint8 [B, 3, H, W] -> float32, its colours changed first by [B, 3, 4] (photographs.py)."""
    mean, deviation = (_per_channel(values, pixels.device) for values in (config.mean, config.deviation))
    images = pixels.flatten(2).float()
    with torch.autocast(pixels.device.type, enabled=False):
        if change is not None:
            images = torch.baddbmm(change[:, :, 3:], change[:, :, :3], images)
        return ((images - mean) / deviation).view(pixels.shape)


class _Augmented(Dataset[tuple[Tensor, Tensor, int]]):
    """Place -> pixels uint8 [3, size, size], change of colours float32 [3, 4], label."""

    def __init__(self, files: Files, config: ImageNetConfig, seed: int) -> None:
        self.files, self.config, self.seed = files, config, seed

    def __getitem__(self, place: Place) -> tuple[Tensor, Tensor, int]:
        number, index = place
        random = np.random.default_rng([self.seed, 2, number])
        with self.files.open(index) as image:
            pixels = train_view(image, self.config, random)
        change = colours(pixels.mean((1, 2)), self.config, random)
        return torch.from_numpy(pixels), torch.from_numpy(change), int(self.files.labels[index])


class _Views(Dataset[tuple[list[Tensor], int]]):
    """Index -> for each scale its views as uint8 [views, 3, height, width]; label."""

    def __init__(self, files: Files, config: ImageNetConfig, test: str) -> None:
        self.files, self.config, self.test = files, config, test

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        config = self.config
        with self.files.open(index) as image:
            match self.test:
                case "test":
                    views = [centre_crop(image, config.size, config.test_short_side, config)]
                case "test_ten_crop":
                    views = [ten_crops(image, config)]
                case "test_crop_320":
                    views = [centre_crop(image, LARGER_CROP, LARGER_CROP, config)]
                case _:
                    views = [whole(image, short_side, config) for short_side in config.test_scales]
        return [torch.from_numpy(view) for view in views], int(self.files.labels[index])


@dataclass(frozen=True)
class _Test:
    views: _Views
    batch_size: int
    indices: range
    device: torch.device

    def __iter__(self) -> Iterator[Views]:
        config = self.views.config
        batches = DataLoader(
            self.views,
            batch_size=self.batch_size,
            sampler=self.indices,
            num_workers=config.workers,
            pin_memory=self.device.type == "cuda",
        )
        for scales, labels in batches:
            views = []
            for pixels in scales:
                images = _normalised(pixels.to(self.device, non_blocking=True).flatten(0, 1), config)
                views.append(images.view(*pixels.shape[:2], *images.shape[1:]))
            yield views, labels.to(self.device)
