"""Testing a network on a held-out part of the data."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_module.data.images import Views
from lightning_module.training.step import autocast

TOP_K = 5
"""Guesses per image that the top-5 error allows (ImageNet)."""


def evaluate(
    network: nn.Module, batches: Iterable[Views], precision: str, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Sums float64 [4] of loss, images, wrong guesses, and images whose class is not in the top 5; and who is right.

    The latter is bool [images, 2], on the device too: whether an image's class is the first guess, and whether it is
    in the top 5. An image is judged by the mean probabilities of its views. network: in evaluation mode.
    """
    loss = torch.zeros((), dtype=torch.float64, device=device)
    batches_right = [torch.zeros(0, 2, dtype=torch.bool, device=device)]  # a process's share may be empty
    # Compiled units are for training alone: for other shapes, each would be compiled anew.
    with torch.compiler.set_stance("force_eager"):
        for views, labels in batches:
            batch_loss, batch_right = _of_batch(network, views, labels, precision)
            loss += batch_loss
            batches_right.append(batch_right)
    right = torch.cat(batches_right)
    return torch.stack([loss, torch.full_like(loss, len(right)), *(~right).sum(0)]), right


def packed(right: Tensor, images: int, rank: int, processes: int) -> list[str]:
    """Base64 of a bit for each of all images, 1 if it is right, in numpy.packbits' order; for each column of `right`.

    right: bool [share, columns], of the images rank, rank + processes, ...; every process calls this.
    """
    whole = torch.zeros(images, right.shape[1], dtype=torch.uint8, device=right.device)
    whole[rank::processes] = right
    if processes > 1:
        dist.all_reduce(whole)
    return [base64.b64encode(np.packbits(column).tobytes()).decode() for column in whole.cpu().numpy().T]


def _of_batch(
    network: nn.Module, views: Sequence[Tensor], labels: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    with autocast(labels.device, precision):
        logits = [network(view.flatten(0, 1)).float().unflatten(0, view.shape[:2]) for view in views]
    each = torch.cat(logits, dim=1).log_softmax(2)
    scores = each.logsumexp(1) - math.log(each.shape[1])
    loss = F.nll_loss(scores, labels, reduction="sum")
    right = scores.topk(min(TOP_K, scores.shape[1])).indices == labels[:, None]
    return loss, torch.stack([right[:, 0], right.any(1)], dim=1)
