"""Every variant against a slow, obvious network written out from the papers: logits and gradients agree."""

from typing import Any

import pytest
import torch
from references import State, assert_same
from torch import Tensor
from torch.nn import functional

from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build


def conv(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    bias, groups = state.get(f"{name}.bias"), x.shape[1] // weight.shape[1]
    share = weight.shape[0] // groups
    return torch.cat(  # each group by itself
        [
            functional.conv2d(
                x[:, group * weight.shape[1] : (group + 1) * weight.shape[1]],
                weight[group * share : (group + 1) * share],
                None if bias is None else bias[group * share : (group + 1) * share],
                stride,
                weight.shape[-1] // 2,
            )
            for group in range(groups)
        ],
        dim=1,
    )


def bn(state: State, name: str, x: Tensor, epsilon: float) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scale, shift = state[f"{name}.weight"][:, None, None], state[f"{name}.bias"][:, None, None]
    return (x - mean) / (variance + epsilon).sqrt() * scale + shift


def smaller(x: Tensor, how: str) -> Tensor:
    corners = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    return {"subsample": corners[0], "average": corners.mean(0), "max": corners.amax(0)}[how]


def zeros_around(x: Tensor, channels: int, where: str) -> Tensor:
    missing = channels - x.shape[1]
    front = missing // 2 if where == "both" else 0
    batch, _, height, width = x.shape
    before, after = (x.new_zeros(batch, count, height, width) for count in (front, missing - front))
    return torch.cat([before, x, after], dim=1)


def excited(state: State, key: str, f: Tensor) -> Tensor:
    """Equations 2 to 4 of arXiv:1709.01507."""
    z = f.sum((2, 3)) / (f.shape[2] * f.shape[3])
    z = (z @ state[f"{key}.squeeze.weight"].T + state[f"{key}.squeeze.bias"]).clamp(min=0)
    s = 1 / (1 + torch.exp(-(z @ state[f"{key}.expand.weight"].T + state[f"{key}.expand.bias"])))
    return torch.einsum("bchw,bc->bchw", f, s)


def unit(
    state: State,
    key: str,
    x: Tensor,
    config: NetworkConfig,
    stride: int,
    first: bool,
    lost: float,
    training: bool,
) -> Tensor:
    """lost: with which probability stochastic depth drops the unit."""
    eps = config.bn_epsilon
    strides = {
        "basic": [stride, 1],
        "single_layer": [stride],
        "bottleneck": [stride, 1, 1] if config.bottleneck_stride == "conv1x1" else [1, stride, 1],
    }[config.block]
    layers = len(strides)
    channels = state[f"{key}.residual.conv{layers}.weight"].shape[0]
    grows = stride != 1 or x.shape[1] != channels
    projected = config.shortcut == "C" or (config.shortcut == "B" and grows)
    if stride == 2 and config.downsampling == "max_pool":
        x, stride, strides = smaller(x, "max"), 1, [1] * layers

    # The first activation of a pre-activated unit: of F alone, or of both paths when the shortcut is a projection.
    activated = x
    if not first and config.activation == "full_preactivation":
        activated = functional.relu(
            bn(state, f"{key}.{'before_split.activation.bn' if projected else 'residual.bn1'}", x, eps)
        )
    if not first and config.activation == "relu_only_preactivation":
        activated = functional.relu(x)

    f = activated
    for i, s in enumerate(strides, 1):
        if i > 1 and config.activation == "full_preactivation":
            f = bn(state, f"{key}.residual.bn{i}", f, eps)
        if i > 1:
            f = functional.relu(f)
        if i > 1 and config.residual_dropout and training:
            f = f * (
                torch.empty_like(f).bernoulli_(1 - config.residual_dropout) / (1 - config.residual_dropout)
            )
        f = conv(state, f"{key}.residual.conv{i}", f, s)
        after_last = i == layers and config.activation == "bn_after_addition"
        if config.activation != "full_preactivation" and not after_last:
            f = bn(state, f"{key}.residual.bn{i}", f, eps)
    if config.activation == "relu_before_addition":
        f = functional.relu(f)
    if config.squeeze_ratio:
        f = excited(state, f"{key}.excitation", f)
    if lost and training:
        f = f if torch.rand(()) < 1 - lost else 0 * f
    elif lost:
        f = (1 - lost) * f

    if config.shortcut == "none":
        total = f
    else:
        path = x
        if projected:
            x = path = activated
            path = conv(state, f"{key}.shortcut.resize.conv", path, stride)
            if config.projection_bn and config.activation != "full_preactivation":
                path = bn(state, f"{key}.shortcut.resize.bn", path, eps)
        elif grows:
            path = smaller(path, config.shortcut_pooling) if stride == 2 else path
            path = zeros_around(path, channels, config.zero_padding)
        if config.shortcut_type == "constant_scaling":
            path, f = config.shortcut_scale * path, config.residual_scale * f
        if config.shortcut_type.endswith("gating"):
            gate = 1 / (1 + torch.exp(-conv(state, f"{key}.shortcut.gate", x, stride)))
            path = (1 - gate) * path
            if config.shortcut_type == "exclusive_gating":
                f = gate * f
        total = path + f

    if config.activation == "bn_after_addition":
        total = bn(state, f"{key}.after_addition.bn", total, eps)
    return functional.relu(total) if config.activation in ("original", "bn_after_addition") else total


def reference(state: State, config: NetworkConfig, images: Tensor, training: bool = True) -> Tensor:
    x = conv(state, "stem.conv", images, 1 if config.form == "cifar" else 2)
    x = functional.relu(bn(state, "stem.bn", x, config.bn_epsilon))
    if config.form == "imagenet":
        x = functional.max_pool2d(x, 3, 2, padding=1)
    number = 0
    for stage, units in enumerate(config.units_per_stage):
        for position in range(units):
            stride, number = 2 if stage and not position else 1, number + 1
            lost = config.stochastic_depth * number / sum(config.units_per_stage)
            x = unit(state, f"stages.{stage}.{position}", x, config, stride, number == 1, lost, training)
    if config.activation == "full_preactivation":
        x = bn(state, "last_activation.bn", x, config.bn_epsilon)
    if config.activation.endswith("preactivation"):
        x = functional.relu(x)
    pooled = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    return pooled @ state["classifier.weight"].T + state["classifier.bias"]


BLOCKS = {"basic": 14, "bottleneck": 20, "single_layer": 8}
ACTIVATIONS = [
    "original",
    "bn_after_addition",
    "relu_before_addition",
    "relu_only_preactivation",
    "full_preactivation",
]
VARIANTS: list[dict[str, Any]] = [
    {"block": block, "activation": activation, "shortcut": shortcut}
    for block in BLOCKS
    for activation in ACTIVATIONS
    for shortcut in ("A", "B", "C", "none")
]
VARIANTS += [
    {"zero_padding": padding, "shortcut_pooling": pooling, "activation": activation}
    for padding in ("end", "both")
    for pooling in ("subsample", "average", "max")
    for activation in ("original", "full_preactivation")
]
TYPES: list[dict[str, Any]] = [
    {"shortcut_type": "constant_scaling", "shortcut_scale": 0.5, "residual_scale": 0.7},
    {"shortcut_type": "exclusive_gating", "gate_bias": -1.0},
    {"shortcut_type": "shortcut_only_gating", "gate_bias": -1.0},
]
VARIANTS += [
    {**kind, "shortcut": shortcut, "activation": activation}
    for kind in TYPES
    for shortcut in ("A", "B")
    for activation in ("original", "relu_only_preactivation")
]
VARIANTS += [
    {"projection_bn": False, "shortcut": "C"},
    {"bottleneck_stride": "conv3x3", "block": "bottleneck", "shortcut": "B"},
    {"downsampling": "max_pool"},
    {"downsampling": "max_pool", "shortcut": "B", "activation": "full_preactivation"},
    {"form": "imagenet", "depth": 18, "shortcut": "B"},
    {
        "form": "imagenet",
        "depth": 26,
        "block": "bottleneck",
        "shortcut": "A",
        "activation": "full_preactivation",
    },
    {"bn_epsilon": 0.1},
    {"widen": 3, "shortcut": "B", "activation": "full_preactivation"},
    {"widen": 2, "shortcut": "B", "activation": "full_preactivation", "residual_dropout": 0.3},
    {"residual_dropout": 0.3, "block": "bottleneck"},
    {"block": "bottleneck", "shortcut": "B", "groups": 2, "bottleneck_stride": "conv3x3"},
    {"block": "bottleneck", "shortcut": "B", "groups": 3, "group_width": 2},
    {"block": "bottleneck", "group_width": 6, "activation": "full_preactivation", "widen": 2},
    {"squeeze_ratio": 2},
    {"squeeze_ratio": 4, "block": "bottleneck", "shortcut": "B", "activation": "full_preactivation"},
    {"squeeze_ratio": 2, "activation": "relu_before_addition"},
    {"stochastic_depth": 0.9, "depth": 26},
    {"stochastic_depth": 0.9, "depth": 26, "shortcut": "B", "activation": "full_preactivation"},
]


@pytest.mark.parametrize("choice", VARIANTS, ids=lambda choice: ",".join(map(str, choice.values())))
def test_network_is_the_reference(choice: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(**{"depth": BLOCKS[choice.get("block", "basic")], "width": 4} | choice)
    network = build(config, num_classes=3).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 and not name.endswith("gate.bias"):
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    images = torch.randn(3, 3, *([64, 64] if config.form == "imagenet" else [8, 8]), dtype=torch.double)
    assert_same(network, lambda state: reference(state, config, images), images)


def test_stochastic_depth_weights_every_unit_by_its_survival_in_evaluation() -> None:
    config = NetworkConfig(depth=14, width=4, stochastic_depth=0.5)
    network = build(config, num_classes=3).double()
    for module in network.modules():  # whose statistics are not those of testing in the reference
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    images = torch.randn(3, 3, 8, 8, dtype=torch.double)
    state = dict(network.named_parameters())
    torch.testing.assert_close(network.eval()(images), reference(state, config, images, training=False))
