"""What a run really is, counted from the network and the schedule that it is about to use."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from lightning_module.cell.config import Config, RecipeConfig
from lightning_module.training.recipe import learning_rate, warm_up_end

Breakpoints = list[tuple[int | None, float]]
"""(first step, learning rate from there on); the step is None where only the training error can tell."""
Ranges = list[tuple[int, int, float]]
"""(first step, step after the last, learning rate) of each stretch with one rate."""


def realised(config: Config, parameters: int, network: nn.Module) -> dict[str, Any]:
    """Weight layers, parameters and learning rates of a run, for its record; of the rates those that are certain.

    Raises ValueError, in one sentence, if they are not what the configuration says: layers other than the network's
    own number, other than the planned `parameters`, rates that are not the learning rate and then each drop of it.
    """
    layers, learned = weight_layers(network), sum(value.numel() for value in network.parameters())
    said = getattr(config.model, "weighted_layers", layers)
    if layers != said:
        raise ValueError(f"the network has {layers} weight layers, but {config.model.name} says {said}")
    if learned != parameters:
        raise ValueError(f"the network has {learned} parameters, but {parameters} were planned")
    schedule = learning_rates(config.recipe, config.layers)
    _check_rates(config.recipe, schedule, config.layers)
    certain = schedule[:1] if warm_up_end(config.recipe, config.layers) is None else schedule
    return {"layers": layers, "parameters": learned, "learning_rates": certain}


NOT_COUNTED = {"shortcut", "excitation"}
"""Parts of a network whose layers the papers do not count as its depth, by the name of the module."""


def weight_layers(network: nn.Module) -> int:
    """Convolutions and the classifier, as the papers count them: what lies on a shortcut does not count."""
    return sum(
        isinstance(module, nn.Conv2d | nn.Linear) and not NOT_COUNTED & {*name.split(".")}
        for name, module in network.named_modules()
    )


def learning_rates(recipe: RecipeConfig, depth: int) -> Breakpoints:
    """Every change of the learning rate that the recipe means."""
    ends = warm_up_end(recipe, depth)
    changes: Breakpoints = [(first, rate) for first, _, rate in used(recipe, recipe.steps, ends or 0)]
    if ends is None and not math.isclose(recipe.warm_up_learning_rate, changes[0][1]):
        changes = [(0, recipe.warm_up_learning_rate), (None, changes[0][1]), *changes[1:]]
    return changes


def used(recipe: RecipeConfig, steps: int, warm_up_ends: int | None) -> Ranges:
    """The learning rates of the first `steps` steps; warm_up_ends: None if it has not.

    Found by asking for the rate at each step that the recipe names and around it: of every step would take minutes
    for 10^9 of them.
    """
    asked = {step + near for step in (0, warm_up_ends or 0, *recipe.drops, steps - 1) for near in (-1, 0, 1)}
    ranges: Ranges = []
    for step in sorted(step for step in asked if 0 <= step < steps):
        rate = learning_rate(recipe, step, warm_up_ends)
        if not ranges or not math.isclose(rate, ranges[-1][2]):
            ranges = [(first, min(end, step), known) for first, end, known in ranges] + [(step, steps, rate)]
    return ranges


def departure(recipe: RecipeConfig, depth: int, warm_up_ends: int | None) -> str:
    """How the learning rates of a whole run were not those that the recipe means, as a sentence; "" if they were."""
    ranges = used(recipe, recipe.steps, warm_up_ends)
    meant = [rate for _, rate in learning_rates(recipe, depth)]
    if [rate for *_, rate in ranges] == meant:
        return ""
    when = "never ended" if warm_up_ends is None else f"ended only at step {warm_up_ends}"
    were = ", ".join(f"{rate:g} to step {end}" for _, end, rate in ranges)
    return (
        f"the warm-up {when}, because the training error stayed at {recipe.warm_up_error:g} % or more: the learning "
        f"rate was {were}, where the recipe means {_list(meant)}"
    )


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
