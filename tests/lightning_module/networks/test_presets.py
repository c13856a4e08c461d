"""The files of conf/model: each is a network, and a preset differs from the paper's in exactly the keys it names."""

from dataclasses import asdict, fields
from typing import Any

import pytest
import torch

from ablations.sweep.compose import CONF, compose
from lightning_module.networks import families
from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build

DIFFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain_cifar": ("resnet_cifar", {"shortcut": "none"}),
    "preact_cifar": (
        "resnet_cifar",
        {"depth": 164, "block": "bottleneck", "activation": "full_preactivation", "shortcut": "B"},
    ),
    "resnet_imagenet": ("resnet_cifar", {"form": "imagenet", "depth": 34, "width": 64}),
    "plain_imagenet": ("resnet_imagenet", {"shortcut": "none"}),
    "preact_imagenet": (
        "resnet_imagenet",
        {"depth": 200, "block": "bottleneck", "activation": "full_preactivation", "shortcut": "B"},
    ),
    "kaiminghe_deep_residual_networks": (
        "resnet_imagenet",
        {"depth": 50, "block": "bottleneck", "shortcut": "B", "stem_bias": True},
    ),
    "kaiminghe_resnet_1k_layers": ("preact_cifar", {"depth": 1001}),
    "fb_resnet_torch": ("resnet_cifar", {}),
    "fb_resnet_torch_imagenet": (
        "resnet_imagenet",
        {"depth": 50, "block": "bottleneck", "shortcut": "B", "bottleneck_stride": "conv3x3"},
    ),
    "tensorpack_cifar": (
        "resnet_cifar",
        {
            "depth": 32,
            "activation": "full_preactivation",
            "zero_padding": "both",
            "shortcut_pooling": "average",
            "classifier_initialization": "he_normal",
        },
    ),
    "wenxinxu": (
        "resnet_cifar",
        {
            "depth": 32,
            "activation": "full_preactivation",
            "zero_padding": "both",
            "shortcut_pooling": "average",
            "initialization": "glorot_uniform",
            "classifier_initialization": "unit_uniform",
            "bn_epsilon": 1e-3,
        },
    ),
    "ry_tensorflow_resnet": (
        "resnet_cifar",
        {
            "shortcut": "B",
            "initialization": "truncated_normal",
            "classifier_initialization": "truncated_normal",
            "bn_epsilon": 1e-3,
            "bn_momentum": 3e-4,
        },
    ),
    "akamaster": (
        "resnet_cifar",
        {"zero_padding": "both", "initialization": "he_fan_in", "classifier_initialization": "he_normal"},
    ),
    "wrn": (
        "resnet_cifar",
        {"depth": 26, "activation": "full_preactivation", "shortcut": "B", "widen": 10},
    ),
    "resnext_cifar": (
        "resnet_cifar",
        {
            "depth": 29,
            "block": "bottleneck",
            "width": 64,
            "bottleneck_stride": "conv3x3",
            "shortcut": "B",
            "groups": 8,
            "group_width": 64,
        },
    ),
}


def model(name: str) -> dict[str, Any]:
    """The keys of its family."""
    choice: dict[str, Any] = compose([f"model={name}"])["model"]
    assert choice.pop("family") == ("densenet" if name == "densenet" else "resnet")
    return choice


def test_the_default_file_is_the_default_configuration_key_by_key() -> None:
    assert model("resnet_cifar") == asdict(NetworkConfig())
    assert set(model("resnet_cifar")) == {field.name for field in fields(NetworkConfig)}


def test_every_file_is_known_here() -> None:
    files = {path.stem for path in (CONF / "model").glob("*.yaml")}
    assert files == {"resnet_cifar", *DIFFERENCES, *families.names()} - {"resnet"}


def test_the_file_of_another_family_has_its_defaults() -> None:
    for family in {*families.names()} - {"resnet"}:
        assert compose([f"model={family}"])["model"] == families.defaults(family)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_preset_differs_in_exactly_its_keys(name: str) -> None:
    base, difference = DIFFERENCES[name]
    expected = model(base)
    assert not set(difference.items()) & set(expected.items())
    assert model(name) == expected | difference


@pytest.mark.parametrize("name", ["resnet_cifar", *DIFFERENCES])
def test_a_preset_builds(name: str) -> None:
    config = NetworkConfig(**model(name))
    with torch.device("meta"):
        network = build(config, 10)
        size = 64 if config.form == "imagenet" else 32
        assert network(torch.empty(2, 3, size, size)).shape == (2, 10)
