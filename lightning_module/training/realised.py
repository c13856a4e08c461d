"""What a run really is, counted from the network and the schedule that it is about to use."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from lightning_module.cell.config import Config, RecipeConfig
from lightning_module.training.recipe import learning_rate, warm_up_end

Breakpoints = list[tuple[int | None, float]]
"""(first step, learning rate from there on); the step is None where only the training error can tell."""


def realised(config: Config, parameters: int, network: nn.Module) -> dict[str, Any]:
    """Weight layers, parameters and learning rates of a run, for its record.

    Raises ValueError, in one sentence, if they are not what the configuration says: layers other than model.depth,
    other than the planned `parameters`, rates that are not the learning rate and then each drop of it.
    """
    layers, learned = weight_layers(network), sum(value.numel() for value in network.parameters())
    if layers != config.model.depth:
        raise ValueError(f"the network has {layers} weight layers, but model.depth={config.model.depth}")
    if learned != parameters:
        raise ValueError(f"the network has {learned} parameters, but {parameters} were planned")
    schedule = learning_rates(config.recipe, config.model.depth)
    _check_rates(config.recipe, schedule, config.model.depth)
    return {"layers": layers, "parameters": learned, "learning_rates": schedule}


def weight_layers(network: nn.Module) -> int:
    """Convolutions and the classifier, as the papers count them: what lies on a shortcut does not count."""
    return sum(
        isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name.split(".")
        for name, module in network.named_modules()
    )


def learning_rates(recipe: RecipeConfig, depth: int) -> Breakpoints:
    """Every change of the learning rate, found by asking for the rate at each step that the recipe names and
    around it: of every step would take minutes for 10^9 of them."""
    ends = warm_up_end(recipe, depth)
    known = 0 if ends is None else ends
    asked = {step + near for step in (0, known, *recipe.drops, recipe.steps - 1) for near in (-1, 0, 1)}
    changes: Breakpoints = []
    for step in sorted(step for step in asked if 0 <= step < recipe.steps):
        rate = learning_rate(recipe, step, known)
        if not changes or not math.isclose(rate, changes[-1][1]):
            changes.append((step, rate))
    if ends is None:
        changes = [(0, recipe.warm_up_learning_rate), (None, changes[0][1]), *changes[1:]]
    return changes


def _check_rates(recipe: RecipeConfig, schedule: Breakpoints, depth: int) -> None:
    """After the warm-up the learning rate itself, then each drop once; as far as the steps go."""
    ends = warm_up_end(recipe, depth)
    wanted = [recipe.learning_rate if ends == 0 else recipe.warm_up_learning_rate]
    if ends != 0 and (ends is None or ends < recipe.steps):
        wanted.append(recipe.learning_rate)
    reached = sum(drop < recipe.steps for drop in recipe.drops)
    wanted += [recipe.learning_rate * recipe.drop_factor**number for number in range(1, reached + 1)]
    rates = [rate for _, rate in schedule]
    # The scan, too, has no entry where a rate stays what it was.
    wanted = [
        rate for last, rate in zip([math.nan, *wanted], wanted, strict=False) if not math.isclose(last, rate)
    ]
    if len(rates) != len(wanted) or not all(map(math.isclose, rates, wanted)):
        raise ValueError(
            f"the learning rate would be {_list(rates)} instead of {_list(wanted)}; "
            f"recipe.drops={list(recipe.drops)} must come after recipe.warm_up_steps={recipe.warm_up_steps}"
        )


def _list(rates: list[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)
