"""Which residual network: every choice of the papers as a typed, checked value. Imports no torch."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lightning_module.networks import blocks
from lightning_module.support.check import at_least, below_one, field_types, fit, one_of
from lightning_module.support.errors import ConfigError, spelled

if TYPE_CHECKING:
    from torch import nn

IMAGENET_UNITS = ((2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3), (3, 24, 36, 3))
"""Units per stage of the ImageNet forms (arXiv:1512.03385, Table 1; the last one arXiv:1603.05027, section 5)."""


@dataclass(frozen=True)
class NetworkConfig:
    """One network; the fields are the keys of `conf/model/*.yaml`, the defaults the 20-layer CIFAR ResNet.

    Raises ConfigError, one sentence with key, value and what is allowed, for a value or a combination without
    meaning. Two configurations that differ are two different networks: a key that would have no effect must keep
    its default.
    """

    form: Literal["cifar", "imagenet"] = "cifar"
    depth: int = 20
    block: str = "basic"
    width: int = 16
    activation: Literal[
        "original",
        "bn_after_addition",
        "relu_before_addition",
        "relu_only_preactivation",
        "full_preactivation",
    ] = "original"
    bottleneck_stride: Literal["conv1x1", "conv3x3"] = "conv1x1"
    downsampling: Literal["stride", "max_pool"] = "stride"
    shortcut: Literal["A", "B", "C", "none"] = "A"
    zero_padding: Literal["end", "both"] = "end"
    shortcut_pooling: Literal["subsample", "average", "max"] = "subsample"
    projection_bn: bool = True
    shortcut_type: Literal[
        "identity", "constant_scaling", "exclusive_gating", "shortcut_only_gating", "dropout"
    ] = "identity"
    shortcut_scale: float = 1.0
    residual_scale: float = 1.0
    gate_bias: float = 0.0
    dropout: float = 0.0
    initialization: Literal["he_fan_out", "he_fan_in", "glorot_uniform", "truncated_normal"] = "he_fan_out"
    classifier_initialization: Literal["uniform", "unit_uniform", "he_normal", "truncated_normal"] = "uniform"
    zero_init_last_bn: bool = False
    bn_epsilon: float = 1e-5
    bn_momentum: float = 0.1
    widen: int = 1
    groups: int = 1
    group_width: int | None = None
    squeeze_ratio: int | None = None
    residual_dropout: float = 0.0
    stochastic_depth: float = 0.0
    stem_bias: bool = False

    def __post_init__(self) -> None:
        """Check every key by itself, then the combinations."""
        for key, kind in field_types(NetworkConfig).items():
            # A whole number is welcome, but must not make another configuration: -6 is -6.0.
            object.__setattr__(self, key, fit(getattr(self, key), kind, f"model.{key}"))
        one_of("model.block", self.block, blocks.names())
        at_least(self, "model", "width", "widen", "groups", "group_width", "squeeze_ratio")
        below_one(self, "model", "residual_dropout", "stochastic_depth")
        if self.bn_epsilon <= 0:
            raise ConfigError(f"model.bn_epsilon={self.bn_epsilon} is not above 0; the usual value is 1e-5")
        if not 0 < self.bn_momentum <= 1:
            raise ConfigError(
                f"model.bn_momentum={self.bn_momentum} is not the weight of a new batch, above 0 and at most 1; "
                "the usual value is 0.1"
            )
        self._check_depth()
        self._check_needs()
        self._check_channels()

    @property
    def units_per_stage(self) -> tuple[int, ...]:
        """Residual units in each stage; a plain net has the same without shortcuts."""
        layers = blocks.weighted_layers(self.block)
        if self.form == "cifar":
            return ((self.depth - 2) // (3 * layers),) * 3
        return next(units for units in IMAGENET_UNITS if layers * sum(units) + 2 == self.depth)

    @property
    def weighted_layers(self) -> int:
        """Weight layers as the papers count them: first convolution, those of the units, classifier."""
        return blocks.weighted_layers(self.block) * sum(self.units_per_stage) + 2

    def build(self, classes: int, channels: int) -> nn.Module:
        """The network, newly initialised from torch's global random generator."""
        from lightning_module.networks import resnet  # torch, which a plan does not need

        return resnet.build(self, classes, channels)

    @property
    def preactivation(self) -> bool:
        """Whether a unit begins with its activation (arXiv:1603.05027, Fig. 4 d and e)."""
        return self.activation in ("relu_only_preactivation", "full_preactivation")

    @property
    def name(self) -> str:
        """To show to a reader: `ResNet-110`, `plain-20`, `ResNet-34 B`, `ResNet-110 (dropout=0.5)`, `WRN-28-10`.

        A wide network counts its three projections and not its classifier, as its paper does.
        """
        told = {"form", "depth", "shortcut", "activation", "block"}
        usual = {**_defaults(), "width": 64 if self.form == "imagenet" else 16}
        activation, block, shortcut = self.activation, self.block, self.shortcut
        wide = (activation, block, shortcut, self.form) == ("full_preactivation", "basic", "B", "cifar")
        head = f"ResNet-{self.depth}"
        if self.widen > 1 and wide:
            head, activation, shortcut = f"WRN-{self.depth + 2}-{self.widen}", "original", "A"
            told |= {"widen"}
        elif self.groups > 1 and self.group_width:
            head, block = f"ResNeXt-{self.depth} {self.groups}x{self.group_width}d", "basic"
            shortcut = "A" if shortcut == "B" else shortcut
            told |= {"groups", "group_width"}
            usual |= {"width": 64, "bottleneck_stride": "conv3x3"}
        if self.squeeze_ratio == 16:
            head = f"SE-{head}"
            told |= {"squeeze_ratio"}
        if shortcut == "none":
            head = head.replace("ResNet", "plain")
        elif shortcut != "A":
            head += f" {shortcut}"
        words = [activation.replace("_", " ").replace("preact", "pre-act")] * (activation != "original")
        words += [block.replace("_", " ")] * (block != "basic")
        words += [
            f"{key}={getattr(self, key)}"
            for key, value in usual.items()
            if key not in told and getattr(self, key) != value
        ]
        return head + (f" ({', '.join(words)})" if words else "")

    def _check_depth(self) -> None:
        layers = blocks.weighted_layers(self.block)
        if self.form == "cifar":
            step = 3 * layers
            below = (self.depth - 2) // step * step + 2
            if below == self.depth and self.depth > 2:
                return
            nearest = [depth for depth in (below, below + step) if depth > 2] or [step + 2]
            rule = f"{step}n+2 ({self.block} blocks, CIFAR form)"
        else:
            valid = [layers * sum(units) + 2 for units in IMAGENET_UNITS]
            if self.depth in valid:
                return
            nearest = sorted(sorted(valid, key=lambda depth: abs(depth - self.depth))[:2])
            rule = f"one of {', '.join(map(str, valid))} ({self.block} blocks, ImageNet form)"
        depths = f"depths are {nearest[0]} and {nearest[1]}" if len(nearest) > 1 else f"depth is {nearest[0]}"
        raise ConfigError(f"model.depth={self.depth} is not {rule}; the nearest valid {depths}")

    def _check_needs(self) -> None:
        """Refuse a key that the rest of the configuration makes meaningless."""
        scaled = self.shortcut_type == "constant_scaling"
        gated = self.shortcut_type.endswith("gating")
        dropped = self.shortcut_type == "dropout"
        bottleneck = blocks.has_bottleneck(self.block)
        bn_last = self.activation not in ("full_preactivation", "bn_after_addition")
        needs = [
            ("shortcut_type", self.shortcut != "none", "a shortcut: model.shortcut=A, B or C"),
            ("zero_padding", self.shortcut == "A", "model.shortcut=A"),
            ("shortcut_pooling", self.shortcut == "A", "model.shortcut=A"),
            ("shortcut_pooling", self.downsampling == "stride", "model.downsampling=stride"),
            ("shortcut_scale", scaled, "model.shortcut_type=constant_scaling"),
            ("residual_scale", scaled, "model.shortcut_type=constant_scaling"),
            ("gate_bias", gated, "model.shortcut_type=exclusive_gating or shortcut_only_gating"),
            ("dropout", dropped, "model.shortcut_type=dropout"),
            ("bottleneck_stride", bottleneck, "a block with a bottleneck"),
            ("groups", bottleneck, "a block with a bottleneck"),
            ("group_width", bottleneck, "a block with a bottleneck"),
            ("residual_dropout", blocks.weighted_layers(self.block) > 1, "a block of several layers"),
            ("stochastic_depth", self.shortcut != "none", "a shortcut: model.shortcut=A, B or C"),
            ("projection_bn", self.shortcut in ("B", "C"), "model.shortcut=B or C"),
            ("projection_bn", self.activation != "full_preactivation", "BN behind the weight layers"),
            ("zero_init_last_bn", self.shortcut != "none", "a shortcut: model.shortcut=A, B or C"),
            ("zero_init_last_bn", bn_last, "a residual function with BN behind its last weight layer"),
        ]
        for key, met, need in needs:
            value = getattr(self, key)
            if not met and value != _defaults()[key]:
                raise ConfigError(
                    f"model.{key}={spelled(value)} needs {need}; "
                    f"without it the value is {spelled(_defaults()[key])}"
                )
        if dropped and not 0 < self.dropout < 1:
            raise ConfigError(
                f"model.dropout={self.dropout} is not a ratio between 0 and 1; the paper's is 0.5"
            )

    def _check_channels(self) -> None:
        """Refuse groups and ratios that the channels of the first stage cannot be shared out by."""
        width = self.width * self.widen
        if self.group_width is None and width % self.groups:
            raise ConfigError(
                f"model.groups={self.groups} does not divide the {width} channels of the first bottleneck; "
                "give them a number of their own each: model.group_width"
            )
        if self.group_width is not None and self.group_width * self.groups == width:
            raise ConfigError(
                f"model.group_width={self.group_width} is what {self.groups} groups of {width} channels have anyway; "
                "leave it out"
            )
        channels = width * blocks.load(self.block).EXPANSION
        if (self.squeeze_ratio or 1) > channels:
            raise ConfigError(
                f"model.squeeze_ratio={self.squeeze_ratio} leaves nothing of the first stage's {channels} channels; "
                f"the largest valid value is {channels}, the paper's is 16"
            )


@dataclass(frozen=True)
class Cost:
    """The price of one network.

    parameters: numbers that are learned
    multiply_adds: multiplications (each with its addition) in the convolutions and matrix products of one forward
        pass on one image; this is what the papers call FLOPs. A training step is about three forward passes
    activation_bytes: what the forward pass of one batch in 32 bits keeps for the backward pass, parameters not
        counted
    """

    parameters: int
    multiply_adds: int
    activation_bytes: int


@functools.cache
def _defaults() -> dict[str, object]:
    return {field.name: field.default for field in dataclasses.fields(NetworkConfig)}
