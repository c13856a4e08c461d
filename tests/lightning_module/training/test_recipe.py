"""Recipes: the papers' schedules, the public implementations' differences, and what is counted at the start."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from small import SMALL
from torch import nn

from ablations.sweep.compose import CONF, compose, make_cell
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import Cell, canonical, difference
from lightning_module.networks.resnet import build
from lightning_module.support.errors import ConfigError
from lightning_module.train import run
from lightning_module.training.device_memory import with_activation_checkpoint
from lightning_module.training.interruption import Interruption
from lightning_module.training.realised import learning_rates, realised, weight_layers
from lightning_module.training.recipe import learning_rate, optimizer, warm_up_end


def recipe(*overrides: str):
    return parse_config(compose(overrides)).recipe


# The papers


def test_the_2015_schedule():
    he = recipe("recipe=he2015_cifar")
    assert (he.batch_size, he.steps, he.momentum, he.weight_decay) == (128, 64000, 0.9, 1e-4)
    ends = warm_up_end(he, depth=56)
    rates = {step: learning_rate(he, step, ends) for step in (0, 31999, 32000, 47999, 48000, 63999)}
    assert rates == pytest.approx({0: 0.1, 31999: 0.1, 32000: 0.01, 47999: 0.01, 48000: 0.001, 63999: 0.001})


def test_the_2015_warm_up_is_for_110_layers_and_ends_by_the_training_error():
    he = recipe("recipe=he2015_cifar")
    assert warm_up_end(he, 110) is None
    assert learning_rate(he, 5000, None) == 0.01
    assert learning_rate(he, 400, 400) == 0.1


def test_the_2016_warm_up_is_400_steps_for_every_network():
    he = recipe("recipe=he2016_cifar")
    ends = warm_up_end(he, 20)
    assert [learning_rate(he, step, ends) for step in (0, 399, 400)] == [0.01, 0.01, 0.1]
    assert learning_rate(he, 32000, ends) == pytest.approx(0.01)


IMAGENET = 1_281_167
EPOCHS = {
    # recipe: (images of an epoch, epochs after which the rate drops, epochs to the end)
    "fb_resnet_torch": (50_000, [80, 121], 164),
    "kaiminghe_resnet_1k_layers": (50_000, [80, 121], 200),
    "akamaster": (50_000, [100, 150], 200),
    "he2016_imagenet": (IMAGENET, [30, 60], 90),
    "fb_resnet_torch_imagenet": (IMAGENET, [30, 60], 90),
}


@pytest.mark.parametrize("name", EPOCHS)
def test_schedules_in_epochs_drop_at_the_first_step_after_so_many_images(name):
    images, drops, end = EPOCHS[name]
    found = recipe(f"recipe={name}")
    steps = [math.ceil(epochs * images / found.batch_size) for epochs in (*drops, end)]
    assert [*found.drops, found.steps] == steps


@pytest.mark.parametrize(
    ("overrides", "rates"),
    [
        (["recipe=he2015_cifar"], [(0, 0.1), (32000, 0.01), (48000, 0.001)]),
        (["recipe=he2015_cifar", "model.depth=110"], [(0, 0.01), (None, 0.1), (32000, 0.01), (48000, 0.001)]),
        (["recipe=he2016_cifar"], [(0, 0.01), (400, 0.1), (32000, 0.01), (48000, 0.001)]),
        (["recipe=he2015_imagenet"], [(0, 0.1), (150000, 0.01), (300000, 0.001), (450000, 0.0001)]),
        (["recipe=he2016_imagenet"], [(0, 0.1), (150137, 0.01), (300274, 0.001)]),
        (["recipe=tensorpack_cifar"], [(0, 0.01), (1000, 0.1), (32000, 0.01), (48000, 0.001)]),
        (["recipe=ry_tensorflow_resnet"], [(0, 0.01)]),
        (["recipe=akamaster"], [(0, 0.1), (39063, 0.01), (58594, 0.001)]),
        (["recipe=akamaster", "model.depth=110"], [(0, 0.01), (391, 0.1), (39063, 0.01), (58594, 0.001)]),
    ],
)
def test_the_rates_from_the_first_step_to_the_last(overrides, rates):
    config = parse_config(compose(overrides))
    found = learning_rates(config.recipe, config.model.depth)
    assert [step for step, _ in found] == [step for step, _ in rates]
    assert [rate for _, rate in found] == pytest.approx([rate for _, rate in rates])


def test_the_rates_of_very_many_steps_are_known_at_once(monkeypatch):
    """10^12 of them, of which one cannot ask each."""
    asked = []

    def rate(recipe, step, ends):
        asked.append(step)
        assert len(asked) < 100
        return learning_rate(recipe, step, ends)

    monkeypatch.setattr("lightning_module.training.realised.learning_rate", rate)
    found = learning_rates(recipe("recipe=he2016_cifar", "recipe.steps=1e12"), 110)
    assert [step for step, _ in found] == [0, 400, 32000, 48000]


# The public implementations: what they change of the paper's form, and nothing else

CONSTANTS = {
    "data.normalisation": "constants",
    "data.mean": [125.3, 123, 113.9],
    "data.deviation": [63, 62.1, 66.7],
}
IMAGENET_CONSTANTS = {
    "data.normalisation": "constants",
    "data.mean": [123.675, 116.28, 103.53],
    "data.deviation": [58.395, 57.12, 57.375],
}
PREACTIVATED = {
    "model.depth": 32,
    "model.activation": "full_preactivation",
    "model.zero_padding": "both",
    "model.shortcut_pooling": "average",
}
Difference = dict[str, Any]
PRESETS: dict[str, tuple[tuple[str, str, str], tuple[str, str, str], Difference]] = {
    # name: (the paper's model, data and recipe), (its own), what differs
    "fb_resnet_torch": (
        ("resnet_cifar", "cifar10", "he2015_cifar"),
        ("fb_resnet_torch", "fb_resnet_torch", "fb_resnet_torch"),
        CONSTANTS
        | {
            "recipe.steps": 64063,
            "recipe.drops": [31250, 47266],
            "recipe.nesterov": True,
            "recipe.warm_up": "none",
        },
    ),
    "fb_resnet_torch_imagenet": (
        ("resnet_imagenet", "imagenet", "he2016_imagenet"),
        ("fb_resnet_torch_imagenet", "fb_resnet_torch_imagenet", "fb_resnet_torch_imagenet"),
        {
            "model.depth": 50,
            "model.block": "bottleneck",
            "model.shortcut": "B",
            "model.bottleneck_stride": "conv3x3",
            "data.crop": "area",
            "data.interpolation": "bicubic",
            "data.jitter": 0.4,
            "data.final_tests": ["ten_crop"],
            "recipe.nesterov": True,
        },
    ),
    "kaiminghe_deep_residual_networks": (
        ("resnet_imagenet", "imagenet", "he2015_imagenet"),
        ("kaiminghe_deep_residual_networks",) * 3,
        {
            "model.depth": 50,
            "model.block": "bottleneck",
            "model.shortcut": "B",
            "model.stem_bias": True,
            "data.mean": [123.151630838, 115.902882574, 103.062623801],
            "data.deviation": [1, 1, 1],
            "data.final_tests": ["ten_crop"],
            "recipe.bn_statistics": "precise",
        },
    ),
    "kaiminghe_resnet_1k_layers": (
        ("preact_cifar", "cifar10", "he2016_cifar"),
        ("kaiminghe_resnet_1k_layers", "fb_resnet_torch", "kaiminghe_resnet_1k_layers"),
        CONSTANTS
        | {
            "model.depth": 1001,
            "recipe.batch_size": 64,
            "recipe.steps": 156250,
            "recipe.drops": [62500, 94532],
            "recipe.nesterov": True,
            "recipe.warm_up": "none",
            "recipe.warm_up_from_depth": 110,
        },
    ),
    "tensorpack_cifar": (
        ("resnet_cifar", "cifar10", "he2016_cifar"),
        ("tensorpack_cifar", "tensorpack_cifar", "tensorpack_cifar"),
        PREACTIVATED
        | {
            "model.classifier_initialization": "he_normal",
            "data.scale": 128,
            "data.padding_with": "black",
            "recipe.warm_up_steps": 1000,
            "recipe.weight_decay": 2e-4,
            "recipe.weight_decay_on": "weights",
        },
    ),
    "wenxinxu": (
        ("resnet_cifar", "cifar10", "he2015_cifar"),
        ("wenxinxu", "wenxinxu", "wenxinxu"),
        PREACTIVATED
        | {
            "model.initialization": "glorot_uniform",
            "model.classifier_initialization": "unit_uniform",
            "model.bn_epsilon": 1e-3,
            "data.normalisation": "per_image",
            "data.padding": 2,
            "data.padding_with": "black",
            "data.largest_offset": 3,
            "recipe.steps": 80000,
            "recipe.drops": [40000, 60000],
            "recipe.weight_decay": 2e-4,
            "recipe.weight_decay_on": "weights",
            "recipe.warm_up": "none",
        },
    ),
    "ry_tensorflow_resnet": (
        ("resnet_cifar", "cifar10", "he2015_cifar"),
        ("ry_tensorflow_resnet", "ry_tensorflow_resnet", "ry_tensorflow_resnet"),
        {
            "model.shortcut": "B",
            "model.initialization": "truncated_normal",
            "model.classifier_initialization": "truncated_normal",
            "model.bn_epsilon": 1e-3,
            "model.bn_momentum": 3e-4,
            "data.normalisation": "per_image",
            "data.padding": 0,
            "data.padding_with": "black",
            "data.contrast": 0.8,
            "recipe.batch_size": 16,
            "recipe.steps": 500000,
            "recipe.learning_rate": 0.01,
            "recipe.drops": [],
            "recipe.weight_decay": 4e-5,
            "recipe.weight_decay_on": "weights",
            "recipe.classifier_weight_decay": 0.01,
            "recipe.warm_up": "none",
        },
    ),
    "akamaster": (
        ("resnet_cifar", "cifar10", "he2015_cifar"),
        ("akamaster", "akamaster", "akamaster"),
        IMAGENET_CONSTANTS
        | {
            "model.zero_padding": "both",
            "model.initialization": "he_fan_in",
            "model.classifier_initialization": "he_normal",
            "data.padding_with": "black",
            "recipe.steps": 78125,
            "recipe.drops": [39063, 58594],
            "recipe.warm_up": "steps",
            "recipe.warm_up_steps": 391,
        },
    ),
}


def chosen(choice: tuple[str, str, str]) -> tuple[str, ...]:
    return tuple(f"{group}={name}" for group, name in zip(("model", "data", "recipe"), choice, strict=True))


@pytest.mark.parametrize("name", PRESETS)
def test_a_public_implementation_differs_from_the_paper_in_exactly_its_keys(name):
    paper, own, expected = PRESETS[name]
    found = difference(canonical(compose(chosen(paper))), canonical(compose(chosen(own))))
    assert {key: theirs for key, (_, theirs) in found.items()} == expected


def test_every_recipe_and_data_set_is_a_papers_or_a_preset_that_is_listed_here():
    papers = {
        "data": {"digits", "cifar10", "cifar100", "imagenet", "arrays", "folder"},
        "recipe": {
            "quick",
            "he2015_cifar",
            "he2015_cifar_tenth",
            "he2016_cifar",
            "he2015_imagenet",
            "he2016_imagenet",
        },
    }
    for position, group in enumerate(("data", "recipe"), start=1):
        presets = {own[position] for _, own, _ in PRESETS.values()}
        assert {path.stem for path in (CONF / group).glob("*.yaml")} == papers[group] | presets


@pytest.mark.parametrize("name", [name for name, (paper, *_) in PRESETS.items() if "imagenet" not in paper])
def test_a_public_implementation_trains(name, tmp_path):
    """Its network and recipe, and its view of the data, on digits for a few steps; 1001 layers as 11."""
    _, own, _ = PRESETS[name]
    data = canonical(compose(chosen(own)))
    view = (
        "normalisation",
        "mean",
        "deviation",
        "scale",
        "padding_with",
        "largest_offset",
        "contrast",
        "padding",
    )
    texts = (
        f"model={own[0]}", f"recipe={own[2]}", "trainer=cpu", "logger=none", "trainer.progress=false",
        f"runs={tmp_path}",        f"model.depth={11 if '1k' in name else 8}", "recipe.steps=3", "recipe.batch_size=16",
        *(f"data.{key}={data[f'data.{key}']}".replace("None", "null").replace(" ", "") for key in view),
    )  # fmt: skip
    record = run(make_cell(compose(texts), texts), Interruption())
    assert record.state == "finished", record.status
    assert math.isfinite(record.last["train/loss"])


# The optimizer


def decays(*overrides: str) -> dict[str, float]:
    network = nn.ModuleDict({
        "conv": nn.Conv2d(3, 4, 3, bias=False), "bn": nn.BatchNorm2d(4), "classifier": nn.Linear(4, 2),
    })  # fmt: skip
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = optimizer(recipe(*overrides), network, False).param_groups
    return {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}


def test_weight_decay_reaches_what_the_recipe_says():
    everything = {"conv.weight", "bn.weight", "bn.bias", "classifier.weight", "classifier.bias"}
    assert decays("recipe=he2015_cifar") == dict.fromkeys(everything, 1e-4)
    tensorpack = {"conv.weight": 2e-4, "classifier.weight": 2e-4}
    assert decays("recipe=tensorpack_cifar") == dict.fromkeys(everything, 0) | tensorpack
    ry = {"conv.weight": 4e-5, "classifier.weight": 0.01}
    assert decays("recipe=ry_tensorflow_resnet") == dict.fromkeys(everything, 0) | ry


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("recipe.classifier_weight_decay=-1", "smallest valid value is 0"),
        ("recipe.learning_rate=nan", "recipe.learning_rate=nan is not a finite number"),
        ("recipe.learning_rate=inf", "recipe.learning_rate=inf is not a finite number"),
        ("recipe.steps=inf", "recipe.steps=inf is not a whole number"),
        ("recipe.warm_up_learning_rate=-1", "smallest valid value is 0"),
        ("recipe.momentum=2", "recipe.momentum=2.0 is not allowed; it lies between 0 and 1"),
        ("recipe.drop_factor=-1", "it lies between 0 and 1"),
        ("recipe.warm_up_error=-3", "it lies between 0 and 100"),
        ("recipe.drops=[-5]", "recipe.drops=.-5. is not allowed; .* the first at least 1"),
        ("recipe.drops=[0,100]", "the first at least 1"),
        ("recipe.nesterov=true recipe.momentum=0", "recipe.nesterov=true needs a recipe.momentum above 0"),
        ("data.normalisation=constants", "data.mean=.. is not three numbers"),
        ("data.mean=[1,2,3]", "need data.normalisation=constants"),
        ("data.normalisation=per_image", "need data.padding_with=black"),
        ("data.largest_offset=3", "between 0 and 2"),
        ("trainer.activation_checkpoint=-1", "smallest valid value is 0"),
    ],
)
def test_bad_values_are_one_sentence(override, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_config(compose(override.split()))
    assert "\n" not in str(error.value)


# What is counted before the first step


def trained(tmp_path, *overrides: str, **changes: Any):
    texts = (*SMALL, "trainer=cpu", "recipe.steps=2", f"runs={tmp_path}", *overrides)
    cell: Cell = replace(make_cell(compose(texts), texts), **changes)
    return run(cell, Interruption())


def test_the_record_says_what_the_run_really_was(tmp_path):
    record = trained(tmp_path, "recipe.steps=30", "recipe.warm_up=steps", "recipe.warm_up_steps=10",
                     "recipe.warm_up_from_depth=0", "recipe.learning_rate=0.05")  # fmt: skip
    found = record.attempts[0]["realised"]
    assert found["layers"] == 8
    assert found["parameters"] == record.cell["parameters"]
    assert [step for step, _ in found["learning_rates"]] == [0, 10, 20]
    assert [rate for _, rate in found["learning_rates"]] == pytest.approx([0.01, 0.05, 0.005])


def test_the_record_says_when_the_training_error_ended_the_warm_up(tmp_path):
    texts = ("recipe.warm_up=train_error", "recipe.warm_up_from_depth=0", "recipe.steps=110",
             "recipe.warm_up_learning_rate=0.02", "recipe.drops=[105]")  # fmt: skip
    record = trained(tmp_path, *texts)
    assert [event["ended"] for event in record.events if event["event"] == "warm_up"] == [100]


def test_a_network_that_is_not_the_planned_one_fails_the_cell_in_one_sentence(tmp_path):
    record = trained(tmp_path, parameters=5)
    assert record.state == "failed"
    assert record.status["error"].endswith("parameters, but 5 were planned")
    assert record.epochs == ()


def test_layers_are_counted_in_the_network():
    for overrides in (
        ("model.depth=20",), ("model=plain_cifar",), ("model=preact_cifar",), ("model.shortcut=C",),
        ("model.shortcut_type=exclusive_gating",), ("model.depth=11", "model.block=single_layer"),
        ("model=preact_imagenet",), ("model=resnet_imagenet", "model.depth=18", "model.shortcut=B"),
        ("model=wrn", "model.widen=2"), ("model=resnext_cifar",), ("model.squeeze_ratio=4",), ("model=densenet",),
    ):  # fmt: skip
        config = parse_config(compose(overrides)).model
        with torch.device("meta"):
            assert weight_layers(config.build(10, 3)) == config.weighted_layers == config.depth  # type: ignore[attr-defined]
    config = parse_config(compose(["model.depth=8"]))
    with pytest.raises(ValueError, match=r"the network has 14 weight layers, but ResNet-8 says 8"):
        realised(config, 0, build(replace(config.model, depth=14), 10))


def test_a_drop_within_the_warm_up_is_refused():
    """It would vanish there, and training begin at a tenth of the learning rate."""
    config = parse_config(compose(["recipe=he2016_cifar", "recipe.drops=[300,48000]"]))
    network = build(config.model, 10)
    with pytest.raises(ValueError, match=r"would be 0.01, 0.001 instead of 0.01, 0.1, 0.01, 0.001") as error:
        realised(config, sum(value.numel() for value in network.parameters()), network)
    assert "\n" not in str(error.value)


def test_a_learning_rate_divided_twice_at_once_is_refused(monkeypatch):
    """The bug of a public implementation, put into ours."""
    config = parse_config(compose(["recipe=he2015_cifar"]))
    network = build(config.model, 10)
    monkeypatch.setattr(
        "lightning_module.training.realised.learning_rate",
        lambda recipe, step, ends: learning_rate(recipe, step, ends) * (0.1 if step >= 32000 else 1),
    )
    with pytest.raises(ValueError, match=r"would be 0.1, 0.001, 0.0001 instead of 0.1, 0.01, 0.001"):
        realised(config, sum(value.numel() for value in network.parameters()), network)


def test_only_activations_that_do_not_fit_are_checkpointed():
    deep = parse_config(compose(["model.depth=1202", "data=cifar10", "recipe=he2015_cifar"]))
    shallow = parse_config(compose(["model.depth=20", "data=cifar10", "recipe=he2015_cifar"]))
    every = [
        with_activation_checkpoint(config, gigabytes << 30).trainer.activation_checkpoint
        for config, gigabytes in ((deep, 16), (deep, 80), (shallow, 16), (shallow, 1))
    ]
    assert every == [24, 0, 0, 0]  # 600 units; 12 and 0.2 GiB of activations
    asked = parse_config(compose(["trainer.activation_checkpoint=5"]))
    assert with_activation_checkpoint(asked, 1 << 50) == asked
