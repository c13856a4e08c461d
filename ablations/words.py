"""What keys and levels are called: one table of words, and what stands for those that are not in it."""

from __future__ import annotations

import re
from typing import Any

KEYS = {
    "data.content": "data",
    "data.function": "data",
    "data.root": "data",
    "model": "network",
    "model.activation": "placement",
    "model.block": "unit",
    "model.gate_bias": "bias",
    "model.growth": "growth k",
    "model.shortcut_type": "kind of shortcut",
    "model.widen": "widening",
    "model.zero_init_last_bn": "last BN",
    "recipe.warm_up": "warm-up",
}
"""Keys whose own name is not what people say."""

CODE = {
    "akamaster": "akamaster",
    "fb_resnet_torch": "fb.resnet.torch",
    "fb_resnet_torch_imagenet": "fb.resnet.torch",
    "kaiminghe_deep_residual_networks": "deep-residual-networks",
    "kaiminghe_resnet_1k_layers": "resnet-1k-layers",
    "ry_tensorflow_resnet": "ry's TensorFlow",
    "tensorpack_cifar": "tensorpack",
    "wenxinxu": "Wenxin Xu's TensorFlow",
}
"""Public implementations, by the name of their presets."""

DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}

LEVELS: dict[str, dict[Any, str]] = {
    "data": {**DATA, "digits": "digits"} | {name: f"data of {code}" for name, code in CODE.items()},
    "data.name": {**DATA, "digits": "digits"},
    "data.crop": {"scale": "crops by scale", "area": "crops by area and aspect"},
    "model": {
        "densenet": "DenseNet",
        "plain_cifar": "plain",
        "plain_imagenet": "plain",
        "preact_cifar": "pre-activated ResNet",
        "preact_imagenet": "pre-activated ResNet",
        "resnet_cifar": "ResNet",
        "resnet_imagenet": "ResNet",
        "resnext_cifar": "ResNeXt-29",
        "wrn": "wide ResNet",
    }
    | {name: f"network of {code}" for name, code in CODE.items()},
    "model.activation": {
        "original": "original unit",
        "bn_after_addition": "BN after addition",
        "relu_before_addition": "ReLU before addition",
        "relu_only_preactivation": "ReLU-only pre-activation",
        "full_preactivation": "full pre-activation",
    },
    "model.block": {"basic": "basic unit", "bottleneck": "bottleneck", "single_layer": "one-layer unit"},
    "model.bottleneck": {True: "with bottlenecks", False: "without bottlenecks"},
    "model.downsampling": {"stride": "stride 2", "max_pool": "max pooling"},
    "model.shortcut": {"none": "plain", "A": "option A", "B": "option B", "C": "option C"},
    "model.shortcut_pooling": {
        "subsample": "subsampled shortcut",
        "average": "averaged shortcut",
        "max": "max-pooled shortcut",
    },
    "model.shortcut_type": {
        "identity": "identity",
        "constant_scaling": "constant scaling",
        "exclusive_gating": "exclusive gating",
        "shortcut_only_gating": "shortcut-only gating",
        "dropout": "dropout on the shortcut",
    },
    "model.squeeze_ratio": {None: "no squeeze-and-excitation"},
    "model.zero_init_last_bn": {True: "last BN from zero", False: "last BN from one"},
    "model.zero_padding": {"end": "zeros at the end", "both": "zeros at both ends"},
    "recipe": {
        "he2015_cifar": "recipe of 2015",
        "he2015_cifar_tenth": "a tenth of the recipe of 2015",
        "he2015_imagenet": "recipe of 2015",
        "he2016_cifar": "recipe of 2016",
        "he2016_imagenet": "recipe of 2016",
        "quick": "quick recipe",
    }
    | {name: f"recipe of {code}" for name, code in CODE.items()},
    "recipe.warm_up": {
        "none": "no warm-up",
        "steps": "warm-up by steps",
        "train_error": "warm-up by training error",
    },
}
"""Levels that are said without their key: key -> level -> its name."""


def key_text(key: str) -> str:
    """A configuration key: "model.shortcut_scale" -> "shortcut scale"."""
    return KEYS.get(key) or key.rpartition(".")[2].replace("_", " ")


def value_text(value: Any) -> str:
    """A configuration value as it is typed, nearly: True -> "yes", 0.10 -> "0.1", (82, 123) -> "[82, 123]"."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else str(value)


def level_name(key: str, value: Any) -> str:
    """What stands under the heading of its key: "option A", "56"; "my level" for "my_level", which no table knows."""
    if name := _own_name(key, value):
        return name
    text = value_text(value)
    if isinstance(value, int | float):
        return text.replace("-", "−", 1) if text.startswith("-") else text
    return text.replace("_", " ") if isinstance(value, str) and value.isidentifier() else text


def setting(key: str, value: Any) -> str:
    """What stands alone: "option B", "depth 56", "bias −6"."""
    return _own_name(key, value) or f"{key_text(key)} {level_name(key, value)}"


def network_text(name: str) -> str:
    """The name of a network as a page shows it: "DenseNet-BC-100 (k=12)" -> "DenseNet-BC-100, k = 12"."""
    spoken = re.sub(r"\b(\w)=", r"\1 = ", name)
    spoken = re.sub(r"(\w+)=", lambda key: key[1].replace("_", " ") + " ", spoken)
    spoken = re.sub(r" \(([^()]*)\)$", r", \1", spoken)
    return re.sub(r"(?<=\d)x(?=\d)", "×", spoken)


def _own_name(key: str, value: Any) -> str | None:
    names = LEVELS.get(key, {})
    return next(
        (name for level, name in names.items() if level == value and type(level) is type(value)), None
    )
