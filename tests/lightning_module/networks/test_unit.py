"""What the units must do by their definition."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import ResNet, build
from lightning_module.networks.shortcuts import ZeroPadding
from lightning_module.networks.unit import Unit


def network_and_images(**choice: Any) -> tuple[ResNet, Tensor]:
    torch.manual_seed(0)
    return build(NetworkConfig(**{"depth": 14, "width": 4} | choice), num_classes=3), torch.randn(4, 3, 8, 8)


def units(network: nn.Module) -> list[Unit]:
    return [module for module in network.modules() if isinstance(module, Unit)]


def test_zero_padding_by_hand() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    end = ZeroPadding(1, 3, 2)(x)
    assert end.tolist() == [[[[0, 2], [8, 10]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]]
    both = ZeroPadding(1, 3, 2, "average", "both")(x)
    assert both.tolist() == [[[[0, 0], [0, 0]], [[2.5, 4.5], [10.5, 12.5]], [[0, 0], [0, 0]]]]
    assert ZeroPadding(1, 2, 2, "max")(x)[0, 0].tolist() == [[5, 7], [13, 15]]
    assert ZeroPadding(1, 3, 1)(x)[0, 0].tolist() == x[0, 0].tolist()


@pytest.mark.parametrize("pooling", ["subsample", "average", "max"])
@pytest.mark.parametrize("size", [7, 8])
def test_zero_padding_has_the_size_of_a_strided_convolution(pooling: Any, size: int) -> None:
    x = torch.ones(1, 2, size, size)
    found = ZeroPadding(2, 4, 2, pooling)(x)
    assert found.shape == nn.Conv2d(2, 4, 3, 2, padding=1)(x).shape
    assert found[:, :2].unique().tolist() == [1.0]


def test_closed_exclusive_gate_is_the_identity_path() -> None:
    closed, images = network_and_images(shortcut_type="exclusive_gating", gate_bias=-1e4)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(units(closed)[0](x), x.relu())
    opened, _ = network_and_images(shortcut_type="exclusive_gating", gate_bias=1e4)
    plain, _ = network_and_images(shortcut="none")
    plain.load_state_dict({key: value for key, value in opened.state_dict().items() if "gate" not in key})
    assert torch.equal(opened(images), plain(images))


def test_closed_shortcut_only_gate_is_the_original() -> None:
    gated, images = network_and_images(shortcut_type="shortcut_only_gating", gate_bias=-1e4)
    original, _ = network_and_images()
    original.load_state_dict({key: value for key, value in gated.state_dict().items() if "gate" not in key})
    assert torch.equal(gated(images), original(images))


@pytest.mark.parametrize(("scales", "same_as"), [((1.0, 1.0), "A"), ((0.0, 1.0), "none")])
def test_constant_scaling_at_its_ends(scales: tuple[float, float], same_as: str) -> None:
    scaled, images = network_and_images(
        shortcut_type="constant_scaling", shortcut_scale=scales[0], residual_scale=scales[1]
    )
    other, _ = network_and_images(shortcut=same_as)
    other.load_state_dict(scaled.state_dict())
    assert torch.equal(scaled(images), other(images))


def test_dropout_on_the_shortcut() -> None:
    dropped, images = network_and_images(shortcut_type="dropout", dropout=0.5)
    original, _ = network_and_images()
    original.load_state_dict(dropped.state_dict())
    assert not torch.equal(dropped(images), original(images))
    original.load_state_dict(dropped.state_dict())
    assert torch.equal(dropped.eval()(images), original.eval()(images))
    shortcut = units(dropped.train())[0].shortcut
    assert shortcut is not None
    kept = shortcut(torch.ones(1, 4, 100, 100), torch.zeros(1, 4, 100, 100))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert (kept == 0).float().mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("shortcut_type", ["exclusive_gating", "shortcut_only_gating"])
def test_gates_begin_at_their_bias(shortcut_type: str) -> None:
    network, _ = network_and_images(shortcut_type=shortcut_type, gate_bias=-6.0)
    biases = [value for name, value in network.named_parameters() if name.endswith("gate.bias")]
    assert len(biases) == 6
    assert all(bias.eq(-6).all() for bias in biases)


@pytest.mark.parametrize(
    ("activation", "exact"),
    [
        ("original", False),
        ("relu_before_addition", True),
        ("relu_only_preactivation", True),
        ("full_preactivation", True),
    ],
)
@pytest.mark.parametrize("block", ["basic", "bottleneck", "single_layer"])
def test_a_stage_of_zeroed_residual_functions_is_the_identity(
    activation: str, exact: bool, block: str
) -> None:
    depth = {"basic": 20, "bottleneck": 29, "single_layer": 11}[block]
    network, _ = network_and_images(depth=depth, activation=activation, block=block)
    later = network.stages[1][1:]  # type: ignore[index]
    for unit in units(later):
        last = [module for module in unit.residual if isinstance(module, nn.Conv2d | nn.BatchNorm2d)][-1]
        nn.init.zeros_(last.weight)
    x = torch.randn(2, 8 if block != "bottleneck" else 32, 4, 4)
    assert torch.equal(later(x), x if exact else x.relu())


def test_zero_init_last_bn_begins_as_the_identity() -> None:
    network, _ = network_and_images(zero_init_last_bn=True)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(units(network)[0](x), x.relu())


@pytest.mark.parametrize("shortcut", ["A", "C"])
@pytest.mark.parametrize("activation", ["relu_only_preactivation", "full_preactivation"])
def test_preactivation_leaves_its_input_alone(activation: str, shortcut: str) -> None:
    network, _ = network_and_images(activation=activation, shortcut=shortcut)
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    units(network)[1](x)
    assert torch.equal(x, before)


def test_preactivation_of_the_first_unit_is_the_one_behind_conv1() -> None:
    network, _ = network_and_images(activation="full_preactivation")
    first, second = units(network)[:2]
    assert [name for name, _ in first.residual.named_children()] == ["conv1", "bn2", "relu2", "conv2"]
    assert [name for name, _ in second.residual.named_children()] == [
        "bn1",
        "relu1",
        "conv1",
        "bn2",
        "relu2",
        "conv2",
    ]
    assert [name for name, _ in network.stem.named_children()] == ["conv", "bn", "relu"]
    assert network.last_activation is not None


@pytest.mark.parametrize("shortcut", ["B", "C"])
def test_gradients_numerically(shortcut: str) -> None:
    for activation in ("original", "full_preactivation"):
        network, _ = network_and_images(depth=8, width=2, shortcut=shortcut, activation=activation)
        images = torch.randn(2, 3, 4, 4, dtype=torch.double, requires_grad=True)
        assert torch.autograd.gradcheck(network.double(), (images,), fast_mode=True)


@pytest.mark.parametrize(
    "choice",
    [
        {"shortcut_type": "exclusive_gating"},
        {"shortcut_type": "constant_scaling", "shortcut_scale": 0.5},
        {"downsampling": "max_pool"},
        {"shortcut_pooling": "max"},
    ],
)
def test_gradients_of_shortcuts_numerically(choice: dict[str, Any]) -> None:
    network, _ = network_and_images(depth=8, width=2, **choice)
    images = torch.randn(2, 3, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(network.double(), (images,), fast_mode=True)


def test_initialisation_has_the_variance_it_says() -> None:
    torch.manual_seed(0)
    conv = {}
    linear = {}
    for name in ("he_fan_out", "he_fan_in", "glorot_uniform", "truncated_normal"):
        network = build(NetworkConfig(depth=8, width=64, initialization=name), 10)
        conv[name] = network.stages[1][0].residual.conv1.weight.std().item()  # type: ignore[index]
    for name in ("uniform", "unit_uniform", "he_normal", "truncated_normal"):
        network = build(NetworkConfig(depth=8, width=64, classifier_initialization=name), 1000)  # type: ignore[arg-type]
        linear[name] = network.classifier.weight.std().item()
        assert network.classifier.bias.count_nonzero() == 0
    # 64 -> 128 channels, 3x3; TensorFlow cuts a normal at two deviations, which leaves 0.88 of the deviation.
    assert conv == pytest.approx(
        {
            "he_fan_out": math.sqrt(2 / (9 * 128)),
            "he_fan_in": math.sqrt(2 / (9 * 64)),
            "glorot_uniform": math.sqrt(2 / (9 * 192)),
            "truncated_normal": 0.088,
        },
        rel=0.02,
    )
    assert linear == pytest.approx(
        {
            "uniform": math.sqrt(1 / (3 * 256)),
            "unit_uniform": math.sqrt(1 / 256),
            "he_normal": math.sqrt(2 / 256),
            "truncated_normal": 0.0088,
        },
        rel=0.02,
    )


def test_same_seed_same_network() -> None:
    first, second = network_and_images()[0], network_and_images()[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("size", [8, 28, 32])
def test_any_image_size(size: int) -> None:
    network = build(NetworkConfig(depth=8), num_classes=7, in_channels=1)
    assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_norms_are_plain_and_take_the_configured_constants() -> None:
    network, _ = network_and_images(bn_epsilon=1e-3, bn_momentum=3e-4)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 13
    assert all((norm.eps, norm.momentum) == (1e-3, 3e-4) for norm in norms)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == 13
