"""Activation checkpointing: train deeper networks than memory would allow, for a second forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


# torch.compile knows no context_fn, so this stays out of its graphs and runs eagerly.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def run(units: Sequence[nn.Module], x: Tensor, every: int) -> Tensor:
    """The output of the last unit, keeping for the backward pass only the inputs of segments of `every` units.

    Each segment is computed again, with the same random numbers, when its gradients are needed. Results, gradients
    and running statistics are bit for bit those of the units one after the other.
    """
    for start in range(0, len(units), every):
        segment = nn.Sequential(*units[start : start + every])

        def contexts(
            segment: nn.Sequential = segment,
        ) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _frozen_statistics(segment)

        x = checkpoint(segment, x, use_reentrant=False, context_fn=contexts)
    return x


@contextmanager
def _frozen_statistics(segment: nn.Module) -> Iterator[None]:
    """Let BN normalise by the batch without touching its running statistics: the first pass has updated them."""
    kept = [
        (norm, norm.momentum, norm.num_batches_tracked)
        for norm in segment.modules()
        if isinstance(norm, _BatchNorm)
    ]
    for norm, _, batches in kept:
        # A copy to count in, not None: batch normalisation over several processes insists on a counter.
        norm.momentum, norm.num_batches_tracked = 0.0, None if batches is None else batches.clone()
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches
