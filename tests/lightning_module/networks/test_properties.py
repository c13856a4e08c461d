"""Every valid combination builds, has the right number of weight layers, and gives finite losses and gradients."""

from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_module.networks import blocks
from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build
from lightning_module.networks.unit import Unit

HINTS = get_type_hints(NetworkConfig)
CLOSED = {key: get_args(kind) for key, kind in HINTS.items() if get_origin(kind) is not None}


@st.composite
def configurations(draw: st.DrawFn) -> NetworkConfig:
    """Any valid configuration of few narrow layers: keys that a refusal names go back to their defaults."""
    choice: dict[str, Any] = {key: draw(st.sampled_from(values)) for key, values in CLOSED.items()}
    choice["block"] = draw(st.sampled_from(blocks.names()))
    choice["width"] = draw(st.integers(1, 5))
    layers = blocks.weighted_layers(choice["block"])
    small = 8 * layers + 2 if choice["form"] == "imagenet" else 3 * layers * draw(st.integers(1, 2)) + 2
    choice["depth"] = small
    choice |= {key: draw(st.booleans()) for key in ("projection_bn", "zero_init_last_bn")}
    choice["dropout"] = 0.5 if choice["shortcut_type"] == "dropout" else 0.0
    choice["gate_bias"] = draw(st.sampled_from([0.0, -6.0]))
    choice["shortcut_scale"] = draw(st.sampled_from([0.0, 0.5, 1.0]))
    choice["residual_scale"] = draw(st.sampled_from([0.5, 1.0]))
    for _ in fields(NetworkConfig):
        try:
            return NetworkConfig(**choice)
        except ValueError as refusal:
            del choice[str(refusal).removeprefix("model.").split("=")[0]]
            if "dropout" not in choice.values():
                choice.pop("dropout", None)
    raise AssertionError("a configuration of defaults was refused")


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(configurations(), st.integers(7, 9), st.integers(2, 4))
def test_every_combination_trains(config: NetworkConfig, size: int, num_classes: int) -> None:
    torch.manual_seed(0)
    network = build(config, num_classes)
    units = [module for module in network.modules() if isinstance(module, Unit)]
    inside = sum(isinstance(layer, nn.Conv2d) for unit in units for layer in unit.residual)
    assert inside + 2 == config.depth == config.weighted_layers
    assert len(units) == sum(config.units_per_stage)

    logits = network(torch.randn(3, 3, 4 * size if config.form == "imagenet" else size, size))
    loss = nn.functional.cross_entropy(logits, torch.arange(3) % num_classes)
    torch.autograd.backward(loss)
    assert logits.shape == (3, num_classes)
    assert loss.isfinite()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters()
    )
    assert config.name


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(-5, 2000), st.sampled_from(["basic", "bottleneck", "single_layer"]))
def test_a_depth_is_valid_exactly_when_arithmetic_says_so(depth: int, block: str) -> None:
    step = {"basic": 6, "bottleneck": 9, "single_layer": 3}[block]
    try:
        valid = NetworkConfig(depth=depth, block=block).weighted_layers == depth
    except ValueError:
        valid = False
    assert valid == (depth > 2 and depth % step == 2)
