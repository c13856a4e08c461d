"""Parameters of every form: the papers' numbers, independent formulas, and torchvision's counts as constants."""

from typing import Any

import pytest
import torch

from lightning_module.networks import blocks
from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build


def parameters(num_classes: int, **choice: Any) -> int:
    with torch.device("meta"):
        network = build(NetworkConfig(**choice), num_classes)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7), (1202, 19.4)]
)
def test_cifar_resnets_have_the_parameters_of_table_6(depth: int, millions: float) -> None:
    count = parameters(10, depth=depth)
    digits = 1 if depth >= 110 else 2
    assert round(count / 1e6, digits) == millions
    n = (depth - 2) // 6
    convolutions = 9 * (3 * 16 + 256 * 2 * n + 512 + 1024 * (2 * n - 1) + 2048 + 4096 * (2 * n - 1))
    norms = 2 * (16 * (2 * n + 1) + 32 * 2 * n + 64 * 2 * n)
    assert count == convolutions + norms + 64 * 10 + 10


@pytest.mark.parametrize(("depth", "millions"), [(164, 1.7), (1001, 10.2)])
def test_preactivation_resnets_have_the_parameters_of_table_4(depth: int, millions: float) -> None:
    count = parameters(10, depth=depth, block="bottleneck", shortcut="B", activation="full_preactivation")
    n = (depth - 2) // 9
    total, channels = 3 * 16 * 9 + 2 * 16, 16
    for width in (16, 32, 64):
        for unit in range(n):
            total += channels * width + 9 * width * width + 4 * width * width + 2 * 2 * width
            total += 0 if (width, unit) == (16, 0) else 2 * channels
            total += channels * 4 * width if unit == 0 else 0
            channels = 4 * width
    assert count == total + 2 * 256 + 256 * 10 + 10
    assert count / 1e6 == pytest.approx(millions, abs=0.15)


@pytest.mark.parametrize(
    ("depth", "block", "count"),
    [
        (18, "basic", 11_689_512),
        (34, "basic", 21_797_672),
        (50, "bottleneck", 25_557_032),
        (101, "bottleneck", 44_549_160),
        (152, "bottleneck", 60_192_808),
    ],
)
def test_imagenet_resnets_count_as_torchvision(depth: int, block: str, count: int) -> None:
    choice = {"form": "imagenet", "depth": depth, "block": block, "width": 64, "shortcut": "B"}
    assert parameters(1000, **choice) == count
    if block == "bottleneck":
        assert parameters(1000, **choice, bottleneck_stride="conv3x3") == count
        assert parameters(1000, **choice, stem_bias=True) == count + 64  # as Caffe's ResNet-50 has it


def test_options_differ_by_their_projections() -> None:
    def choice(shortcut: str) -> int:
        return parameters(1000, form="imagenet", depth=34, width=64, shortcut=shortcut)

    growing = sum(c * 2 * c + 2 * 2 * c for c in (64, 128, 256))
    equal = sum(count * (c * c + 2 * c) for c, count in [(64, 3), (128, 3), (256, 5), (512, 2)])
    assert choice("none") == choice("A")
    assert choice("B") == choice("A") + growing
    assert choice("C") == choice("B") + equal


def test_projection_without_bn() -> None:
    with_bn = parameters(10, shortcut="C")
    assert with_bn - parameters(10, shortcut="C", projection_bn=False) == 2 * 3 * (16 + 32 + 64)


@pytest.mark.parametrize("gate", ["exclusive_gating", "shortcut_only_gating"])
def test_gates_are_1x1_convolutions_with_bias_in_every_unit(gate: str) -> None:
    per_stage = [(16, 16, 16), (16, 32, 32), (32, 64, 64)]
    weights = sum(first * c + 2 * c * c + 3 * c for first, c, _ in per_stage)
    assert parameters(10, shortcut_type=gate) - parameters(10) == weights


def test_units_of_the_article() -> None:
    def weights(layers: list[blocks.Layer]) -> int:
        return sum(
            layer.kernel**2 * layer.in_channels * layer.out_channels
            for layer in layers
            if isinstance(layer, blocks.Convolution)
        )

    assert weights(blocks.load("basic").layers(256, 256, 1, "conv1x1")) == 1_179_648
    assert weights(blocks.load("bottleneck").layers(256, 64, 1, "conv1x1")) == 69_632


def test_plain_is_residual_without_shortcuts() -> None:
    for block in blocks.names():
        names = {
            shortcut: set(build(NetworkConfig(depth=20, block=block, shortcut=shortcut), 10).state_dict())
            for shortcut in ("C", "none")
        }
        assert names["none"] == {name for name in names["C"] if ".shortcut." not in name}
        assert names["none"] != names["C"]


WIDE = {"activation": "full_preactivation", "shortcut": "B"}
NEXT = {"depth": 29, "block": "bottleneck", "width": 64, "shortcut": "B", "bottleneck_stride": "conv3x3"}


@pytest.mark.parametrize(("depth", "widen", "millions"), [(28, 10, 36.5), (40, 4, 8.9), (16, 8, 11.0)])
def test_wide_networks_have_the_parameters_of_their_paper(depth: int, widen: int, millions: float) -> None:
    """arXiv:1605.07146, Tables 3 to 5, which count the projections as layers and the classifier not."""
    count = parameters(10, depth=depth - 2, widen=widen, **WIDE)
    total, channels, n = 3 * 16 * 9, 16, (depth - 4) // 6
    for width in (16 * widen, 32 * widen, 64 * widen):
        total += channels * width  # the projection
        for _ in range(n):
            total += 9 * channels * width + 9 * width * width + 2 * channels + 2 * width
            channels = width
    assert count == total + 2 * channels + 10 * channels + 10
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(("groups", "millions"), [(8, 34.4), (16, 68.1)])
def test_resnext_has_the_parameters_of_table_7(groups: int, millions: float) -> None:
    count = parameters(10, groups=groups, group_width=64, **NEXT)
    total, channels = 3 * 64 * 9 + 2 * 64, 64
    for stage in range(3):
        inner, out = groups * 64 << stage, 256 << stage
        total += channels * out + 2 * out
        for _ in range(3):
            total += channels * inner + 9 * inner * inner // groups + inner * out + 4 * inner + 2 * out
            channels = out
    assert count == total + 10 * channels + 10
    assert count / 1e6 == pytest.approx(millions, abs=0.06)  # 68.155 is cut off rather than rounded


IMAGENET = {"form": "imagenet", "depth": 50, "block": "bottleneck", "width": 64, "shortcut": "B"}


def test_squeeze_and_excitation_counts_as_its_paper() -> None:
    """arXiv:1709.01507, section 6.1: 2.5 million more than the 25.6 million of ResNet-50."""
    extra = parameters(1000, squeeze_ratio=16, **IMAGENET) - parameters(1000, **IMAGENET)
    units = [(256, 3), (512, 4), (1024, 6), (2048, 3)]
    assert extra == sum(n * (2 * c * c // 16 + c // 16 + c) for c, n in units)
    assert parameters(1000, squeeze_ratio=16, **IMAGENET) / 1e6 == pytest.approx(28.1, abs=0.05)


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        ({"groups": 32, "group_width": 4}, 25_028_904),  # resnext50_32x4d
        ({"group_width": 128}, 68_883_240),  # wide_resnet50_2
    ],
)
def test_bottlenecks_of_another_width_count_as_torchvision(choice: dict[str, int], count: int) -> None:
    assert parameters(1000, **IMAGENET, **choice) == count


def test_dropout_and_stochastic_depth_have_no_parameters() -> None:
    assert parameters(10, residual_dropout=0.3, stochastic_depth=0.5) == parameters(10)
