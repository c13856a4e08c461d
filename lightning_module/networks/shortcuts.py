"""Shortcuts: how a unit carries its input past its residual function, and how the two meet.

`resize` is the path itself: identity, zero padding (option A) or projection (B, C) where dimensions change
(arXiv:1512.03385, section 3.3). The class around it is how path and residual meet: the rows of arXiv:1603.05027,
Table 1, but for its 1x1 convolution, which is option C ("known as option C", section 3).

Every class maps (x, F(x)) to the sum: x float[B, C, H, W], F(x) float[B, C', H/s, W/s] -> like F(x).

The two units of a CIFAR net that change dimensions are treated as all others: scaling, gate or dropout acts on the
path after it has been brought to the new size, and the gate is a 1x1 convolution with the unit's stride, from the
old to the new number of channels. The paper does not spell this out, but its row "0 on the shortcut, 1 on F" is
named a plain net, which is true only when the two units take part.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class ZeroPadding(nn.Module):
    """Option A: bring x to a smaller map by `pooling`, and to more channels by zeros. No parameters.

    The paper says "identity shortcuts with zero entries padded for increasing dimensions, performed with a stride
    of 2" and no more. `subsample` takes every stride-th pixel; `average` and `max` pool 2x2, with a window that is
    cut at an odd border so that the size agrees with a strided convolution's. `end` puts the zeros after x's
    channels, `both` half before and half after (the larger half after).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        pooling: Literal["subsample", "average", "max"] = "subsample",
        padding: Literal["end", "both"] = "end",
    ) -> None:
        super().__init__()
        missing = out_channels - in_channels
        front = missing // 2 if padding == "both" else 0
        self.stride = stride
        self.pooling = pooling
        self.padding = (0, 0, 0, 0, front, missing - front)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', ceil(H/s), ceil(W/s)]."""
        if self.stride > 1:
            if self.pooling == "subsample":
                # Slices, whose backward pass would take five kernels where this takes one.
                x = functional.avg_pool2d(x, 1, self.stride)
            elif self.pooling == "average":
                x = functional.avg_pool2d(x, self.stride, ceil_mode=True)
            else:
                x = functional.max_pool2d(x, self.stride, ceil_mode=True)
        return functional.pad(x, self.padding)


class Addition(nn.Module):
    """resize(x) + F(x): equation 1 and 2 of arXiv:1512.03385."""

    def __init__(self, resize: nn.Module) -> None:
        super().__init__()
        self.resize = resize

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """The sum, in new memory: the operands may be needed for the backward pass."""
        return torch.add(self.resize(x), residual)


class ConstantScaling(Addition):
    """shortcut_scale * resize(x) + residual_scale * F(x): (0.5, 0.5), (0.5, 1) and (0, 1) in Table 1."""

    def __init__(self, resize: nn.Module, shortcut_scale: float, residual_scale: float) -> None:
        super().__init__(resize)
        self.shortcut_scale = shortcut_scale
        self.residual_scale = residual_scale

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """The sum with both paths scaled."""
        path: Tensor = self.resize(x)
        return self.shortcut_scale * path + self.residual_scale * residual


class ShortcutOnlyGating(Addition):
    """(1 - g(x)) * resize(x) + F(x), with g(x) = sigmoid(W x + b), a 1x1 convolution.

    W begins as every convolution, b at `gate_bias`: a more negative b opens the shortcut wider.
    """

    def __init__(
        self, resize: nn.Module, in_channels: int, out_channels: int, stride: int, gate_bias: float
    ) -> None:
        super().__init__(resize)
        self.gate = nn.Conv2d(in_channels, out_channels, 1, stride)
        if self.gate.bias is not None:
            nn.init.constant_(self.gate.bias, gate_bias)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """The sum with the gated shortcut; sigmoid(-a) is 1 - sigmoid(a) without cancellation."""
        path: Tensor = self.resize(x)
        return torch.sigmoid(-self.gate(x)) * path + residual


class ExclusiveGating(ShortcutOnlyGating):
    """(1 - g(x)) * resize(x) + g(x) * F(x), after Highway Networks: what one path gains the other loses."""

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """The sum with both paths gated."""
        path: Tensor = self.resize(x)
        gate = self.gate(x)
        return torch.sigmoid(-gate) * path + torch.sigmoid(gate) * residual


class DropoutShortcut(Addition):
    """dropout(resize(x)) + F(x): half of the shortcut dropped is "statistically a scale of 0.5"."""

    def __init__(self, resize: nn.Module, ratio: float) -> None:
        super().__init__(resize)
        self.dropout = nn.Dropout(ratio)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """The sum; nothing is dropped in evaluation."""
        return torch.add(self.dropout(self.resize(x)), residual)
