"""What a network costs, remembered: counting needs torch, which takes seconds to import, and a plan does not."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, astuple, replace

from lightning_module.cell.config import Config
from lightning_module.networks.config import Cost, NetworkConfig
from lightning_module.support.disk import ROOT, DiskCache

CACHE = DiskCache("costs", (ROOT / "lightning_module" / "networks").rglob("*.py"))
"""Counts by network. Another file starts when the code of the networks changes, so that they are counted again."""


def of(config: Config) -> Cost:
    """The cost of a cell's network on images of its data, one image at a time."""
    return _cost(config.model, config.data.classes, config.data.image_size)


def _shape(model: NetworkConfig) -> NetworkConfig:
    """The network with everything that changes its numbers but not their count at one value."""
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
        shortcut_scale=0.5 if scaled else 1.0,
        residual_scale=0.5 if scaled else 1.0,
    )


@functools.lru_cache(maxsize=16384)
def _cost(model: NetworkConfig, classes: int, image_size: int) -> Cost:
    key = json.dumps([asdict(_shape(model)), classes, image_size], sort_keys=True)
    counted = CACHE.get(key)
    if not (isinstance(counted, list) and len(counted) == 3):
        from lightning_module.networks.cost import cost  # torch: only for a network that was never counted

        counted = astuple(cost(_shape(model), classes, image_size))
        CACHE.put(key, counted)
    return Cost(*counted)
