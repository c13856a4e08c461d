"""What a network costs, remembered: counting needs torch, which takes seconds to import, and a plan does not."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, astuple, replace
from typing import Any

from lightning_module.cell.config import Config
from lightning_module.networks import families
from lightning_module.networks.config import Cost, NetworkConfig
from lightning_module.support.disk import ROOT, DiskCache
from lightning_module.support.errors import ConfigError

CACHE = DiskCache("costs", (ROOT / "lightning_module" / "networks").rglob("*.py"))
"""Counts by network. Another file starts when the code of the networks changes, so that they are counted again."""


def of(config: Config) -> Cost:
    """The cost of a cell's network on images of its data, one image at a time."""
    return _cost(config.model, config.data.classes, config.data.image_size, config.data.channels)


def check_parts(config: Config) -> None:
    """ConfigError for what a user's network lacks the parts for; all of ours have them."""
    every, precise = config.trainer.activation_checkpoint, config.recipe.bn_statistics == "precise"
    if not (every or precise) or _is_ours(config.model):
        return
    from lightning_module.networks.cost import parts

    units, norms = parts(config.model, config.data.classes, config.data.channels)
    if every and not units:
        raise ConfigError(
            f"trainer.activation_checkpoint={every} needs a network of units, and {config.model.name} is none; "
            "see Staged in lightning_module/networks/staged.py, or leave it out"
        )
    if precise and not norms:
        raise ConfigError(
            f"recipe.bn_statistics=precise needs batch normalisation, and {config.model.name} has none; "
            "the usual value is running"
        )


def _is_ours(model: families.Model) -> bool:
    return type(model).__module__.startswith(families.ROOM)


def _shape(model: families.Model) -> families.Model:
    """The network with everything that changes its numbers but not their count at one value."""
    if not isinstance(model, NetworkConfig):
        return model
    scaled = model.shortcut_type == "constant_scaling"
    return replace(
        model,
        initialization="he_fan_out",
        classifier_initialization="uniform",
        zero_init_last_bn=False,
        bn_epsilon=1e-5,
        bn_momentum=0.1,
        gate_bias=0.0,
        dropout=0.5 if model.dropout else 0.0,
        residual_dropout=0.5 if model.residual_dropout else 0.0,
        stochastic_depth=0.5 if model.stochastic_depth else 0.0,
        shortcut_scale=0.5 if scaled else 1.0,
        residual_scale=0.5 if scaled else 1.0,
    )


@functools.lru_cache(maxsize=16384)
def _cost(model: families.Model, classes: int, image_size: tuple[int, int], channels: int) -> Cost:
    shape: Any = _shape(model)
    if not _is_ours(model):
        return _of_their_own(model, classes, image_size, channels)
    key = json.dumps([type(model).__module__, asdict(shape), classes, image_size, channels], sort_keys=True)
    counted = CACHE.get(key)
    if not (isinstance(counted, list) and len(counted) == 3):
        from lightning_module.networks.cost import cost  # torch: only for a network that was never counted

        counted = astuple(cost(shape, classes, image_size, in_channels=channels))
        CACHE.put(key, counted)
    return Cost(*counted)


def _of_their_own(model: families.Model, classes: int, image_size: tuple[int, int], channels: int) -> Cost:
    """Of a user's network, whose code may change and has imported torch anyway; ConfigError if it cannot be counted."""
    from lightning_module.networks.cost import cost

    try:
        return cost(model, classes, image_size, in_channels=channels)
    except (Exception, SystemExit) as error:  # somebody's program: whatever is wrong with it is bad input
        raise ConfigError(
            f"{model.name} of {type(model).__module__} cannot be counted on torch's meta device, which has shapes and "
            f"no numbers ({type(error).__name__}: {error})"
        ) from error
