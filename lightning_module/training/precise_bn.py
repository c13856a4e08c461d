"""The statistics that batch normalisation tests with, averaged over the training images by a pass of their own.

KaimingHe/deep-residual-networks tests with an "average (not moving average) on a sufficiently large training batch
after the training procedure"; arXiv:2105.07576, section 3, calls it PreciseBN. The weights are the last ones, and the
images are cropped and mirrored as in training. While the pass lasts, a layer normalises by the statistics of its batch,
as it did when the layers behind it learned, and what is averaged is what then comes into each layer. So one pass is
enough, and with a single batch of all images the result is exactly that batch's.

Mean and variance are those of all images taken together: the variance of the batches' means is a part of it, and it is
divided by the number of values, not by one less.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_module.training.step import autocast


def set_precise_statistics(
    network: nn.Module, batches: Iterable[tuple[Tensor, int]], precision: str, processes: int
) -> None:
    """Replace the running statistics; every process calls this with its share of each batch.

    batches: images float32 [share, C, H, W], and how many of them count, the first ones. network: in evaluation mode,
    as it is afterwards.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    device = next(network.parameters()).device
    sums = [torch.zeros(3, norm.num_features, dtype=torch.float64, device=device) for norm in norms]
    counts = [0]

    def add(total: Tensor, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not counts[0]:
            return
        counted = inputs[0][: counts[0]].float()
        around = [0, *range(2, counted.ndim)]
        variance, mean = (value.double() for value in torch.var_mean(counted, around, correction=0))
        values = counted.numel() // counted.shape[1]
        total += values * torch.stack([torch.ones_like(mean), mean, variance + mean.square()])

    # Compiled units would not call the hooks.
    with ExitStack() as hooks, torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for norm, total in zip(norms, sums, strict=True):
            hooks.callback(norm.register_forward_pre_hook(partial(add, total)).remove)
        network.train()
        for images, counts[0] in batches:
            with autocast(images.device, precision):
                network(images)
        network.eval()
    for norm, total in zip(norms, sums, strict=True):
        if processes > 1:
            dist.all_reduce(total)
        mean, square = total[1:] / total[0]
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(square - mean.square())
