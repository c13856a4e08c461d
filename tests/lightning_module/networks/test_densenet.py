"""DenseNet against its paper's counts and a slow, obvious network written out from it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from references import State, assert_same
from torch import Tensor
from torch.nn import functional

from lightning_module.networks.cost import cost
from lightning_module.networks.densenet import DenseNet
from lightning_module.networks.families.densenet import Config
from lightning_module.training.realised import weight_layers

BC = {"bottleneck": True, "compression": 0.5}


def by_hand(depth: int, growth: int, bottleneck: bool = False, compression: float = 1.0) -> tuple[int, int]:
    """Parameters, and multiply-adds on 32x32 images."""
    channels = 2 * growth if bottleneck else 16
    parameters, multiply_adds, size = 27 * channels, 27 * channels * 32**2, 32
    for block in range(3):
        if block:
            kept = int(channels * compression)
            parameters += 2 * channels + channels * kept
            multiply_adds += channels * kept * size**2
            channels, size = kept, size // 2
        for _ in range((depth - 4) // (6 if bottleneck else 3)):
            inner = 4 * growth if bottleneck else channels
            weights = 9 * inner * growth + (channels * inner if bottleneck else 0)
            parameters += weights + 2 * channels + (2 * inner if bottleneck else 0)
            multiply_adds += weights * size**2
            channels += growth
    return parameters + 2 * channels + 10 * channels + 10, multiply_adds + 10 * channels


@pytest.mark.parametrize(
    ("choice", "millions"),
    [
        ({"depth": 40, "growth": 12}, 1.0),
        ({"depth": 100, "growth": 12}, 7.0),
        ({"depth": 100, "growth": 12, **BC}, 0.8),
        ({"depth": 250, "growth": 24, **BC}, 15.3),
        ({"depth": 190, "growth": 40, **BC}, 25.6),
    ],
)
def test_counts_are_those_of_table_2(choice: dict[str, Any], millions: float) -> None:
    found = cost(Config(**choice), 10, 32)
    assert (found.parameters, found.multiply_adds) == by_hand(**choice)
    assert round(found.parameters / 1e6, 1) == millions


@pytest.mark.parametrize("choice", [{"depth": 40}, {"depth": 100, **BC}])
def test_its_layers_are_counted_as_the_paper_counts_them(choice: dict[str, Any]) -> None:
    with torch.device("meta"):
        assert weight_layers(Config(**choice).build(10, 3)) == choice["depth"]


def activated(state: State, name: str, x: Tensor) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scale, shift = (state[f"{name}.bn.{key}"][:, None, None] for key in ("weight", "bias"))
    return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)


def layer(state: State, name: str, x: Tensor, dropout: float) -> Tensor:
    weight = state[f"{name}.conv.weight"]
    x = functional.conv2d(activated(state, name, x), weight, padding=weight.shape[-1] // 2)
    if dropout:
        x = x * (torch.empty_like(x).bernoulli_(1 - dropout) / (1 - dropout))
    return x


def reference(state: State, config: Config, images: Tensor) -> Tensor:
    x = functional.conv2d(images, state["stem.weight"], padding=1)
    for block in range(3):
        maps, place = [x], 0
        if block:
            x = layer(state, f"stages.{block}.0", x, config.dropout)
            maps, place = [sum(x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4], 1  # type: ignore[list-item]
        for _ in range(config.layers_per_block):
            new = torch.cat(maps, 1)
            for name in ("squeeze", "grow") if config.bottleneck else ("grow",):
                new = layer(state, f"stages.{block}.{place}.layers.{name}", new, config.dropout)
            maps.append(new)
            place += 1
        x = torch.cat(maps, 1)
    x = activated(state, "last_activation", x)
    return x.sum((2, 3)) / (x.shape[2] * x.shape[3]) @ state["classifier.weight"].T + state["classifier.bias"]


@pytest.mark.parametrize(
    "choice",
    [
        {"depth": 10, "growth": 3},
        {"depth": 16, "growth": 3, **BC},
        {"depth": 10, "growth": 4, "compression": 0.3},
        {"depth": 10, "growth": 4, "dropout": 0.2},
        {"depth": 16, "growth": 2, "bottleneck": True, "dropout": 0.2},
    ],
    ids=str,
)
def test_network_is_the_reference(choice: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = Config(**choice)
    network = config.build(3, 3).double()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    images = torch.randn(3, 3, 8, 8, dtype=torch.double)
    assert_same(network, lambda state: reference(state, config, images), images)


@pytest.mark.parametrize("every", [1, 3])
def test_activation_checkpoints_change_nothing(every: int) -> None:
    found = []
    for checkpoint_every in (0, every):
        torch.manual_seed(0)
        network = DenseNet(Config(16, 3, **BC, dropout=0.2), 3, 3)
        network.checkpoint_every = checkpoint_every
        torch.manual_seed(1)
        network(torch.randn(3, 3, 8, 8)).square().sum().backward()  # type: ignore[no-untyped-call]
        found.append([*(value.grad for value in network.parameters()), *network.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({}, "DenseNet-40 (k=12)"),
        ({"depth": 100, **BC}, "DenseNet-BC-100 (k=12)"),
        ({"bottleneck": True, "dropout": 0.2}, "DenseNet-B-40 (k=12, dropout=0.2)"),
        ({"compression": 0.3}, "DenseNet-C-40 (k=12, compression=0.3)"),
    ],
)
def test_name(choice: dict[str, Any], name: str) -> None:
    assert Config(**choice).name == name


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (
            {"depth": 41},
            "model.depth=41 is not 3n+4 (without bottlenecks); the nearest valid depths are 40 and 43",
        ),
        (
            {"depth": 3, "bottleneck": True},
            "model.depth=3 is not 6n+4 (with bottlenecks); the nearest valid depths are 10 and 16",
        ),
        ({"growth": 0}, "model.growth=0 is not allowed; the smallest valid value is 1"),
        (
            {"compression": 0.0},
            "model.compression=0 is not a part of the channels, above 0 and at most 1; the paper's is 0.5",
        ),
        ({"dropout": 1.0}, "model.dropout=1.0 is not a probability: at least 0 and below 1"),
    ],
)
def test_what_has_no_meaning_is_one_sentence(choice: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Config(**choice)
