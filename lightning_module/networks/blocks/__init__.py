"""The residual functions F that a unit can have: one file each, found by listing this folder.

A block is a file with two names (no torch import needed):

    EXPANSION: int
        output channels of a unit as a multiple of its width
    layers(in_channels: int, width: int, stride: int, bottleneck_stride: str) -> list[Layer]
        the weight layers of F in order; normalisation, activations and the shortcut are added around them by
        `networks.unit`, as `activation` and `shortcut` say

`stride` is the subsampling of the whole unit: the strides of the layers must multiply to it. The file's name is
the value of `model.block`; nothing else has to be edited. A block that needs more than convolutions (dropout,
squeeze-and-excitation, ...) puts a function that makes the module between them: it is called when the network is
built, and its result goes there as it is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from torch import nn


class Convolution(NamedTuple):
    """A square convolution, zero-padded so that stride alone changes the map size."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    groups: int = 1


Layer = Convolution | Callable[[], "nn.Module"]


class Block(Protocol):
    """What a file of this folder offers."""

    EXPANSION: int

    def layers(self, in_channels: int, width: int, stride: int, bottleneck_stride: str) -> list[Layer]:
        """The weight layers of F, in order."""


def names() -> list[str]:
    """The blocks that exist, sorted: the values that `model.block` can take."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Block:
    """The block `name`; ModuleNotFoundError when the folder has no such file."""
    return cast(Block, importlib.import_module(f"{__name__}.{name}"))


def weighted_layers(name: str) -> int:
    """Weight layers per unit of the block `name`, as the papers count depth (shortcuts and gates do not count)."""
    block = load(name)
    return sum(isinstance(layer, Convolution) for layer in block.layers(1, 1, 1, "conv1x1"))


def has_bottleneck(name: str) -> bool:
    """Whether `model.bottleneck_stride` makes a difference to the block `name`."""
    block = load(name)
    return block.layers(1, 1, 2, "conv1x1") != block.layers(1, 1, 2, "conv3x3")
