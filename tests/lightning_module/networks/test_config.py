"""Which configurations exist, how the others are refused, and what a configuration says of itself."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_module.networks import blocks
from lightning_module.networks.config import NetworkConfig


def test_configuration_needs_no_torch() -> None:
    code = (
        "import sys, lightning_module.networks.config as c; c.NetworkConfig(block='bottleneck');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (
            {"depth": 57},
            "model.depth=57 is not 6n+2 (basic blocks, CIFAR form); the nearest valid depths are 56 and 62",
        ),
        (
            {"depth": 2},
            "model.depth=2 is not 6n+2 (basic blocks, CIFAR form); the nearest valid depth is 8",
        ),
        (
            {"depth": -7},
            "model.depth=-7 is not 6n+2 (basic blocks, CIFAR form); the nearest valid depth is 8",
        ),
        (
            {"depth": 44, "block": "bottleneck"},
            "model.depth=44 is not 9n+2 (bottleneck blocks, CIFAR form); the nearest valid depths are 38 and 47",
        ),
        (
            {"form": "imagenet", "depth": 20},
            (
                "model.depth=20 is not one of 18, 34, 68, 102, 134 (basic blocks, ImageNet form); "
                "the nearest valid depths are 18 and 34"
            ),
        ),
        ({"depth": "20"}, "model.depth=20 is not a whole number but a text"),
        ({"depth": True}, "model.depth=true is not a whole number"),
        ({"width": 0}, "model.width=0 is not allowed; the smallest valid value is 1"),
        (
            {"block": "botleneck"},
            "model.block=botleneck is not known; allowed are basic, bottleneck, single_layer; did you mean bottleneck?",
        ),
        ({"shortcut": "D"}, "model.shortcut=D is not known; allowed are A, B, C, none"),
        (
            {"shortcut": "none", "shortcut_type": "dropout", "dropout": 0.5},
            "model.shortcut_type=dropout needs a shortcut: model.shortcut=A, B or C; without it the value is identity",
        ),
        (
            {"shortcut": "B", "zero_padding": "both"},
            "model.zero_padding=both needs model.shortcut=A; without it the value is end",
        ),
        (
            {"gate_bias": -6.0},
            (
                "model.gate_bias=-6.0 needs model.shortcut_type=exclusive_gating or shortcut_only_gating; "
                "without it the value is 0.0"
            ),
        ),
        (
            {"shortcut_type": "dropout"},
            "model.dropout=0.0 is not a ratio between 0 and 1; the paper's is 0.5",
        ),
        ({"projection_bn": 1}, "model.projection_bn=1 is not true or false"),
        (
            {"shortcut_type": "exclusive_gating", "gate_bias": float("nan")},
            "model.gate_bias=nan is not a finite number",
        ),
        ({"bn_epsilon": "small"}, "model.bn_epsilon=small is not a finite number but a text"),
        ({"widen": 0}, "model.widen=0 is not allowed; the smallest valid value is 1"),
        ({"stochastic_depth": 1}, "model.stochastic_depth=1.0 is not a probability: at least 0 and below 1"),
        (
            {"residual_dropout": -0.1},
            "model.residual_dropout=-0.1 is not a probability: at least 0 and below 1",
        ),
        (
            {"block": "bottleneck", "groups": 3},
            (
                "model.groups=3 does not divide the 16 channels of the first bottleneck; "
                "give them a number of their own each: model.group_width"
            ),
        ),
        (
            {"block": "bottleneck", "groups": 4, "group_width": 4},
            "model.group_width=4 is what 4 groups of 16 channels have anyway; leave it out",
        ),
        (
            {"squeeze_ratio": 32},
            (
                "model.squeeze_ratio=32 leaves nothing of the first stage's 16 channels; "
                "the largest valid value is 16, the paper's is 16"
            ),
        ),
    ],
)
def test_what_has_no_meaning_is_one_sentence(choice: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        NetworkConfig(**choice)


@pytest.mark.parametrize(
    "choice",
    [
        {"shortcut_pooling": "max", "shortcut": "C"},
        {"shortcut_pooling": "max", "downsampling": "max_pool"},
        {"shortcut_scale": 0.5},
        {"residual_scale": 0.5, "shortcut_type": "exclusive_gating"},
        {"dropout": 0.5},
        {"bottleneck_stride": "conv3x3"},
        {"projection_bn": False},
        {"projection_bn": False, "shortcut": "B", "activation": "full_preactivation"},
        {"zero_init_last_bn": True, "shortcut": "none"},
        {"zero_init_last_bn": True, "activation": "full_preactivation"},
        {"zero_init_last_bn": True, "activation": "bn_after_addition"},
        {"bn_momentum": 0.0},
        {"bn_epsilon": 0.0},
        {"activation": "preactivation"},
        {"groups": 2},
        {"group_width": 4},
        {"residual_dropout": 0.3, "block": "single_layer"},
        {"stochastic_depth": 0.5, "shortcut": "none"},
    ],
)
def test_a_key_without_effect_is_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^model\.{next(iter(choice))}="):
        NetworkConfig(**choice)


@pytest.mark.parametrize(
    ("block", "depths"),
    [
        ("basic", [20, 32, 44, 56, 110, 1202]),
        ("bottleneck", [20, 56, 110, 164, 1001]),
        ("single_layer", [20, 110]),
    ],
)
def test_depths_of_the_papers_are_valid(block: str, depths: list[int]) -> None:
    for depth in depths:
        assert NetworkConfig(block=block, depth=depth).weighted_layers == depth


def test_a_whole_number_is_the_same_configuration() -> None:
    whole = NetworkConfig(shortcut_type="exclusive_gating", gate_bias=-6)
    assert repr(whole) == repr(NetworkConfig(shortcut_type="exclusive_gating", gate_bias=-6.0))


def test_units_per_stage() -> None:
    assert NetworkConfig(depth=110).units_per_stage == (18, 18, 18)
    assert NetworkConfig(depth=164, block="bottleneck").units_per_stage == (18, 18, 18)
    assert NetworkConfig(depth=110, block="single_layer").units_per_stage == (36, 36, 36)
    deep = NetworkConfig(form="imagenet", depth=200, block="bottleneck", width=64)
    assert deep.units_per_stage == (3, 24, 36, 3)


WIDE = {"shortcut": "B", "activation": "full_preactivation"}
GROUPED = {"depth": 29, "block": "bottleneck", "width": 64, "shortcut": "B", "bottleneck_stride": "conv3x3"}


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"depth": 110}, "ResNet-110"),
        ({"shortcut": "none"}, "plain-20"),
        ({"form": "imagenet", "depth": 34, "width": 64, "shortcut": "B"}, "ResNet-34 B"),
        (
            {"depth": 110, "shortcut_type": "dropout", "dropout": 0.5},
            "ResNet-110 (shortcut_type=dropout, dropout=0.5)",
        ),
        (
            {"depth": 164, "block": "bottleneck", "activation": "full_preactivation", "shortcut": "B"},
            "ResNet-164 B (full pre-activation, bottleneck)",
        ),
        ({**WIDE, "depth": 26, "widen": 10}, "WRN-28-10"),
        (
            {**WIDE, "depth": 26, "widen": 10, "residual_dropout": 0.3},
            "WRN-28-10 (residual_dropout=0.3)",
        ),
        ({"widen": 2}, "ResNet-20 (widen=2)"),
        ({**GROUPED, "groups": 8, "group_width": 64}, "ResNeXt-29 8x64d"),
        ({**GROUPED, "groups": 8}, "ResNet-29 B (bottleneck, width=64, bottleneck_stride=conv3x3, groups=8)"),
        ({"depth": 110, "squeeze_ratio": 16}, "SE-ResNet-110"),
        ({"depth": 110, "stochastic_depth": 0.5}, "ResNet-110 (stochastic_depth=0.5)"),
    ],
)
def test_name(choice: dict[str, Any], name: str) -> None:
    assert NetworkConfig(**choice).name == name


def test_a_new_block_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from lightning_module.networks.resnet import build

    (tmp_path / "pooled_pair.py").write_text(
        "from lightning_module.networks.blocks import Convolution\n"
        "EXPANSION = 2\n"
        "def layers(in_channels, width, stride, bottleneck_stride):\n"
        "    from torch import nn\n"
        "    return [Convolution(in_channels, width, 3, stride), lambda: nn.Dropout(0.3),\n"
        "            Convolution(width, 2 * width, 3, groups=2)]\n"
    )
    monkeypatch.setattr(blocks, "__path__", [*blocks.__path__, str(tmp_path)])
    for activation in ("original", "full_preactivation"):
        config = NetworkConfig(depth=14, block="pooled_pair", activation=activation)
        assert config.units_per_stage == (2, 2, 2)
        network = build(config, num_classes=5)
        assert sum(isinstance(module, torch.nn.Dropout) for module in network.modules()) == 6
        assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
