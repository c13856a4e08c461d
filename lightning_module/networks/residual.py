"""What later papers do to the residual function as a whole, before it meets its shortcut."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Each channel scaled by a number between 0 and 1 that is made of all channels (arXiv:1709.01507, section 3).

    Its two layers begin as every nn.Linear does, and are no part of the depth that papers count.
    """

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // ratio)
        self.expand = nn.Linear(channels // ratio, channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same."""
        scale = torch.sigmoid(self.expand(torch.relu(self.squeeze(x.mean((2, 3))))))
        return x * scale[:, :, None, None]


class StochasticDepth(nn.Module):
    """Zero for a whole batch with probability 1 - survival, times `survival` in evaluation (arXiv:1603.09382).

    The decision is a random number on the device like those of dropout, so that a CUDA graph draws it anew at each
    step and a checkpointed segment draws it again. What is dropped is computed all the same, and its batch
    normalisation sees the batch; the paper leaves it out, to save time.
    """

    def __init__(self, survival: float) -> None:
        super().__init__()
        self.probability = survival

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same."""
        if not self.training:
            return x * self.probability
        return x * (torch.rand((), device=x.device) < self.probability)
