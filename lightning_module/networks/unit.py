"""A residual unit: the residual function F of a block, its shortcut, and where BN and ReLU go."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightning_module.networks import blocks
from lightning_module.networks.blocks import Convolution, Layer
from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.residual import SqueezeExcitation, StochasticDepth
from lightning_module.networks.shortcuts import (
    Addition,
    ConstantScaling,
    DropoutShortcut,
    ExclusiveGating,
    ShortcutOnlyGating,
    ZeroPadding,
)


class Unit(nn.Module):
    """One residual unit (or, without a shortcut, its plain counterpart).

    Args:
        in_channels: channels of the input
        width: channels of the block's inner layers; the output has `width * EXPANSION`
        stride: 1, or 2 where the stage begins with a smaller map
        config: the network's choices
        survival: probability that the unit is more than its shortcut in a step of training (arXiv:1603.09382)
        first: the network's first unit. In a pre-activation net its activation is the one right after the first
            convolution, before the paths split (arXiv:1603.05027, Appendix), so the unit brings none of its own.

    Where BN and ReLU go is `config.activation` (arXiv:1603.05027, Fig. 4, a to e). A projection in a
    pre-activation net is pre-activated as well: it shares the activation of F (Appendix), and with full
    pre-activation that is where its BN is; in every other placement BN follows the projection.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        config: NetworkConfig,
        first: bool,
        survival: float = 1.0,
    ) -> None:
        super().__init__()
        block = blocks.load(config.block)
        self.out_channels = width * block.EXPANSION
        resized = stride != 1 or in_channels != self.out_channels
        projected = config.shortcut == "C" or (config.shortcut == "B" and resized)

        before = OrderedDict[str, nn.Module]()
        if stride != 1 and config.downsampling == "max_pool":
            before["pool"] = nn.MaxPool2d(stride, ceil_mode=True)
            stride = 1
        own_activation = config.preactivation and not first
        if own_activation and projected:
            before["activation"] = activation_of(in_channels, config)
        self.before_split = nn.Sequential(before) if before else None

        layers = block.layers(in_channels, width, stride, config.bottleneck_stride)
        if config.groups > 1 or config.group_width:
            # The unit's width doubles with each stage, and so does that of its groups.
            scale = width // (config.width * config.widen)
            inner = scale * config.groups * config.group_width if config.group_width else width
            layers = grouped(layers, inner, config.groups)
        self.residual = residual_function(layers, config, starts_activated=projected or not own_activation)
        ratio = config.squeeze_ratio
        self.excitation = SqueezeExcitation(self.out_channels, ratio) if ratio else None
        self.survival = StochasticDepth(survival) if config.stochastic_depth else None
        self.shortcut = _shortcut(in_channels, self.out_channels, stride, config, projected)
        self.after_addition = _after_addition(self.out_channels, config)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, in_channels, H, W] -> float[B, out_channels, ceil(H/stride), ceil(W/stride)]."""
        if self.before_split is not None:
            x = self.before_split(x)
        out: Tensor = self.residual(x)
        if self.excitation is not None:
            out = self.excitation(out)
        if self.survival is not None:
            out = self.survival(out)
        if self.shortcut is not None:
            out = self.shortcut(x, out)
        return out if self.after_addition is None else self.after_addition(out)


def convolution(layer: Convolution) -> nn.Conv2d:
    """A convolution without bias: the BN that follows or precedes would absorb it."""
    return nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        layer.stride,
        padding=layer.kernel // 2,
        groups=layer.groups,
        bias=False,
    )


def grouped(layers: list[Layer], inner: int, groups: int) -> list[Layer]:
    """The layers of a bottleneck with `inner` channels between its ends, its middle in groups (arXiv:1611.05431)."""
    last = len(layers) - 1
    return [
        layer._replace(
            in_channels=layer.in_channels if position == 0 else inner,
            out_channels=layer.out_channels if position == last else inner,
            groups=groups if 0 < position < last else 1,
        )
        if isinstance(layer, Convolution)
        else layer
        for position, layer in enumerate(layers)
    ]


def activation_of(channels: int, config: NetworkConfig) -> nn.Sequential:
    """What a pre-activation net puts before a weight layer: BN and ReLU, or ReLU only.

    ReLU alone works on memory that is not its own (a unit's input), so it must not be in place.
    """
    if config.activation == "full_preactivation":
        return nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True)))
    return nn.Sequential(OrderedDict(relu=nn.ReLU()))


def residual_function(layers: list[Layer], config: NetworkConfig, starts_activated: bool) -> nn.Sequential:
    """F: the weight layers with BN and ReLU between them (arXiv:1603.05027, Fig. 4)."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    convolutions = sum(isinstance(layer, Convolution) for layer in layers)
    number = 0
    for position, layer in enumerate(layers, 1):
        if not isinstance(layer, Convolution):
            modules[f"extra{position}"] = layer()
            continue
        number += 1
        if config.activation == "full_preactivation":
            if number > 1 or not starts_activated:
                modules[f"bn{number}"] = nn.BatchNorm2d(layer.in_channels)
                modules[f"relu{number}"] = nn.ReLU(inplace=True)
            if config.residual_dropout and number > 1:
                modules[f"dropout{number}"] = nn.Dropout(config.residual_dropout)
            modules[f"conv{number}"] = convolution(layer)
            continue
        if number > 1 or (config.preactivation and not starts_activated):
            # In place everywhere but on the unit's own input, which the shortcut reads as well.
            modules[f"relu{number}"] = nn.ReLU(inplace=number > 1)
        if config.residual_dropout and number > 1:
            modules[f"dropout{number}"] = nn.Dropout(config.residual_dropout)
        modules[f"conv{number}"] = convolution(layer)
        if number < convolutions or config.activation != "bn_after_addition":
            modules[f"bn{number}"] = nn.BatchNorm2d(layer.out_channels)
    if config.activation == "relu_before_addition":
        modules["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(modules)


def _after_addition(channels: int, config: NetworkConfig) -> nn.Module | None:
    if config.activation == "original":
        return nn.ReLU(inplace=True)
    if config.activation == "bn_after_addition":
        return nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True)))
    return None


def _shortcut(
    in_channels: int, out_channels: int, stride: int, config: NetworkConfig, projected: bool
) -> nn.Module | None:
    if config.shortcut == "none":
        return None
    resize: nn.Module = nn.Identity()
    if projected:
        path = OrderedDict[str, nn.Module](
            conv=convolution(Convolution(in_channels, out_channels, 1, stride))
        )
        if config.projection_bn and config.activation != "full_preactivation":
            path["bn"] = nn.BatchNorm2d(out_channels)
        resize = nn.Sequential(path)
    elif stride != 1 or in_channels != out_channels:
        resize = ZeroPadding(in_channels, out_channels, stride, config.shortcut_pooling, config.zero_padding)
    match config.shortcut_type:
        case "identity":
            return Addition(resize)
        case "constant_scaling":
            return ConstantScaling(resize, config.shortcut_scale, config.residual_scale)
        case "exclusive_gating":
            return ExclusiveGating(resize, in_channels, out_channels, stride, config.gate_bias)
        case "shortcut_only_gating":
            return ShortcutOnlyGating(resize, in_channels, out_channels, stride, config.gate_bias)
        case "dropout":
            return DropoutShortcut(resize, config.dropout)
