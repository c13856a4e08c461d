"""The optimizer and the learning rate of every step, as the recipe says."""

from __future__ import annotations

from bisect import bisect_right

import torch
from torch import nn

from lightning_module.cell.config import RecipeConfig

WINDOW = 100
"""Optimizer steps over which `warm_up=train_error` measures the training error, and between its looks."""


def warm_up_end(recipe: RecipeConfig, depth: int) -> int | None:
    """The first step after warm-up; None when only the training error can tell (1512.03385, section 4.2)."""
    if recipe.warm_up == "none" or depth < recipe.warm_up_from_depth:
        return 0
    return recipe.warm_up_steps if recipe.warm_up == "steps" else None


def learning_rate(recipe: RecipeConfig, step: int, warm_up_ends: int | None) -> float:
    """Learning rate of a step (0, 1, ...). Drops are counted from step 0, warm-up included, as in the papers."""
    if warm_up_ends is None or step < warm_up_ends:
        return recipe.warm_up_learning_rate
    return recipe.learning_rate * recipe.drop_factor ** bisect_right(recipe.drops, step)


def optimizer(recipe: RecipeConfig, network: nn.Module, fused: bool) -> torch.optim.SGD:
    """SGD with momentum. Weight decay on all parameters is what the authors' code does; "weights" spares
    batch normalisation and biases."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        decay = recipe.weight_decay
        if recipe.weight_decay_on == "weights" and parameter.ndim == 1:
            decay = 0.0
        elif name.endswith("classifier.weight") and recipe.classifier_weight_decay is not None:
            decay = recipe.classifier_weight_decay
        groups.setdefault(decay, []).append(parameter)
    return torch.optim.SGD(
        [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=fused,
    )
