"""Testing a network on a held-out part of the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_module.data.images import Views
from lightning_module.training.step import autocast

TOP_K = 5
"""Guesses per image that the top-5 error allows (ImageNet)."""


def evaluate(network: nn.Module, batches: Iterable[Views], precision: str, device: torch.device) -> Tensor:
    """float64[4] on the device: sums of loss, wrong guesses, images whose class is not in the top 5, and images.

    An image is judged by the mean probabilities of its views. network: in evaluation mode.
    """
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    # Compiled units are for training alone: for other shapes, each would be compiled anew.
    with torch.compiler.set_stance("force_eager"):
        for views, labels in batches:
            sums += _of_batch(network, views, labels, precision)
    return sums


def _of_batch(network: nn.Module, views: Sequence[Tensor], labels: Tensor, precision: str) -> Tensor:
    with autocast(labels.device, precision):
        logits = [network(view.flatten(0, 1)).float().unflatten(0, view.shape[:2]) for view in views]
    each = torch.cat(logits, dim=1).log_softmax(2)
    scores = each.logsumexp(1) - math.log(each.shape[1])
    loss = F.nll_loss(scores, labels, reduction="sum")
    right = scores.topk(min(TOP_K, scores.shape[1])).indices == labels[:, None]
    count = torch.full_like(labels[0], len(labels))
    return torch.stack([loss.double(), (~right[:, 0]).sum(), (~right.any(1)).sum(), count])
