"""Densely connected networks (arXiv:1608.06993) for CIFAR: DenseNet, -B, -C and -BC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_module.support.check import at_least, below_one
from lightning_module.support.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Config:
    """One DenseNet; the defaults are the smallest of the paper's Table 2.

    depth: weight layers, L: 3n+4, or 6n+4 with bottlenecks. growth: channels that each layer adds, k. bottleneck: a 1x1
    convolution to 4k channels before each 3x3 (-B). compression: the part of the channels that a transition keeps
    (-C). dropout: ratio after each convolution but the first; the paper's is 0.2, without augmentation only.
    """

    depth: int = 40
    growth: int = 12
    bottleneck: bool = False
    compression: float = 1.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, "model", "growth")
        below_one(self, "model", "dropout")
        if not 0 < self.compression <= 1:
            raise ConfigError(
                f"model.compression={self.compression:g} is not a part of the channels, above 0 and at most 1; "
                "the paper's is 0.5"
            )
        step = 6 if self.bottleneck else 3
        if self.depth < step + 4 or (self.depth - 4) % step:
            below = max(self.depth - (self.depth - 4) % step, step + 4)
            kind = "with" if self.bottleneck else "without"
            raise ConfigError(
                f"model.depth={self.depth} is not {step}n+4 ({kind} bottlenecks); the nearest valid depths are "
                f"{below} and {below + step}"
            )

    @property
    def layers_per_block(self) -> int:
        """In each of the three dense blocks; a layer with its bottleneck is two weight layers."""
        return (self.depth - 4) // (6 if self.bottleneck else 3)

    @property
    def weighted_layers(self) -> int:
        """The first convolution, the dense layers, two transitions and the classifier."""
        return self.depth

    @property
    def name(self) -> str:
        """To show to a reader: `DenseNet-40 (k=12)`, `DenseNet-BC-100 (k=12)`."""
        letters = "B" * self.bottleneck + "C" * (self.compression < 1)
        words = [f"k={self.growth}"]
        words += [f"compression={self.compression:g}"] * (self.compression not in (0.5, 1))
        words += [f"dropout={self.dropout:g}"] * (self.dropout > 0)
        return f"DenseNet-{letters}{'-' * bool(letters)}{self.depth} ({', '.join(words)})"

    def build(self, classes: int, channels: int) -> nn.Module:
        """The network, newly initialised from torch's global random generator."""
        from lightning_module.networks import densenet  # torch, which a plan does not need

        return densenet.DenseNet(self, classes, channels)
