"""A network of stages of units: what activation checkpointing and compilation take hold of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Staged(nn.Module):
    """`stages` holds sequences of units, which `run_stages` runs.

    checkpoint_every: units of a segment of which only the input is kept for the backward pass; the rest is computed
    a second time there. Results, gradients and running statistics are bit for bit the same. 0 keeps everything.
    """

    stages: nn.Sequential
    checkpoint_every = 0

    @property
    def units(self) -> list[nn.Module]:
        """Those of all stages, in order."""
        return [unit for stage in self.stages for unit in stage.children()]

    def run_stages(self, x: Tensor) -> Tensor:
        """The output of the last unit."""
        if self.checkpoint_every and torch.is_grad_enabled():
            # Imported here because it loads torch's compiler, which takes seconds.
            from lightning_module.networks import checkpointing

            out: Tensor = checkpointing.run(self.units, x, self.checkpoint_every)
            return out
        out = self.stages(x)
        return out
