"""One photograph at a time: what is cut out of it to train on and to test, and how its colours change.

Functions of an image, the configuration and a random generator. A cut is resized by Pillow, antialiased, straight
from its place in the original: what lies outside it is not looked at.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_module.data.config import LARGEST, ImageNetConfig

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the original."""

GREY = np.array([0.299, 0.587, 0.114])
"""Brightness of red, green and blue."""
PCA_VALUES = 255 * np.array([0.2175, 0.0188, 0.0045])
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
"""Principal components of ImageNet's colours, one per column, as published with fb.resnet.torch."""

AREA_ATTEMPTS = 10


def train_view(image: Image, config: ImageNetConfig, random: np.random.Generator) -> NDArray[np.uint8]:
    """A random cut, perhaps mirrored, as [3, size, size]."""
    box = (random_scale if config.crop == "scale" else random_area)(image.size, config, random)
    view = _cut(image, box, (config.size, config.size), config)
    return view[:, :, ::-1].copy() if config.flip and random.random() < 0.5 else view


def random_scale(size: tuple[int, int], config: ImageNetConfig, random: np.random.Generator) -> Box:
    """A random place in the image resized to a random short side (1512.03385, section 3.4)."""
    smallest, largest = config.short_side
    resized = scaled(size, int(random.integers(smallest, largest, endpoint=True)))
    place = [int(random.integers(0, length - config.size, endpoint=True)) for length in resized]
    return _in_original(size, resized, (place[0], place[1]), config.size)


def random_area(size: tuple[int, int], config: ImageNetConfig, random: np.random.Generator) -> Box:
    """A part of random area, aspect and place (Inception); the central square when none fits."""
    width, height = size
    for _ in range(AREA_ATTEMPTS):
        area = random.uniform(config.area[0], config.area[1]) * width * height
        aspect = math.exp(random.uniform(math.log(config.aspect[0]), math.log(config.aspect[1])))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            left = int(random.integers(0, width - wide, endpoint=True))
            top = int(random.integers(0, height - high, endpoint=True))
            return left, top, left + wide, top + high
    side = min(size)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def colours(
    means: NDArray[np.float64], config: ImageNetConfig, random: np.random.Generator
) -> NDArray[np.float32]:
    """Random change of an image's colours as [3, 4]: three columns to multiply with, one to add.

    Brightness, contrast, saturation and AlexNet's shift are all of this form, so that the pixels themselves can
    stay bytes until they are on the device. means: of the image's channels, which is all that contrast looks at.
    """
    change = np.eye(3, 4)
    for kind in random.permutation(3) if config.jitter else ():
        factor = 1 + random.uniform(-config.jitter, config.jitter)
        other = np.zeros((3, 4))  # black, for brightness
        if kind == 1:
            other[:, 3] = GREY @ (change[:, :3] @ means + change[:, 3])
        elif kind == 2:
            other[:] = GREY @ change
        change = factor * change + (1 - factor) * other
    if config.pca:
        change[:, 3] += PCA_VECTORS @ (PCA_VALUES * random.normal(0, config.pca, 3))
    return change.astype(np.float32)


def centre_crop(image: Image, size: int, short_side: int, config: ImageNetConfig) -> NDArray[np.uint8]:
    """[1, 3, size, size]: the middle of the image at a scale."""
    resized = scaled(image.size, short_side)
    middle = ((resized[0] - size) // 2, (resized[1] - size) // 2)
    return _crop(image, resized, middle, size, config)[None]


def ten_crops(image: Image, config: ImageNetConfig) -> NDArray[np.uint8]:
    """[10, 3, size, size]: middle and corners at test_short_side, and the mirror images of the five."""
    resized = scaled(image.size, config.test_short_side)
    right, bottom = resized[0] - config.size, resized[1] - config.size
    places = [(right // 2, bottom // 2), (0, 0), (right, 0), (0, bottom), (right, bottom)]
    five = np.stack([_crop(image, resized, place, config.size, config) for place in places])
    return np.concatenate([five, five[..., ::-1]])


def whole(image: Image, short_side: int, config: ImageNetConfig) -> NDArray[np.uint8]:
    """[1, 3, height, width]: everything, at a scale. ValueError for a thread of an image, which would fill memory."""
    width, height = scaled(image.size, short_side)
    if width * height > LARGEST:
        raise ValueError(f"{width} x {height} pixels at a short side of {short_side} are too many")
    return _cut(image, (0, 0, *image.size), (width, height), config)[None]


def scaled(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Width and height with this short side and the same proportions."""
    factor = short_side / min(size)
    return round(size[0] * factor), round(size[1] * factor)


def _crop(
    image: Image, resized: tuple[int, int], place: tuple[int, int], size: int, config: ImageNetConfig
) -> NDArray[np.uint8]:
    box = _in_original(image.size, resized, place, size)
    return _cut(image, box, (size, size), config)


def _in_original(size: tuple[int, int], resized: tuple[int, int], place: tuple[int, int], side: int) -> Box:
    """Where a square of the resized image lies in the original."""
    across, down = size[0] / resized[0], size[1] / resized[1]
    left, top = place
    right, bottom = min((left + side) * across, size[0]), min((top + side) * down, size[1])
    return left * across, top * down, right, bottom


def _cut(image: Image, box: Box, size: tuple[int, int], config: ImageNetConfig) -> NDArray[np.uint8]:
    from PIL.Image import Resampling

    view = image.resize(size, Resampling[config.interpolation.upper()], box)
    return np.ascontiguousarray(np.asarray(view, dtype=np.uint8).transpose(2, 0, 1))
