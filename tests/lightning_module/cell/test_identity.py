from __future__ import annotations

import copy
import json

import pytest

from ablations.sweep.compose import compose
from lightning_module.cell.identity import Cell, canonical, difference, identity


@pytest.fixture
def config():
    return compose([])


@pytest.mark.parametrize(
    "override",
    [
        "model.depth=32",
        "model.shortcut=B",
        "data.padding=0",
        "recipe.steps=401",
        "seed=1",
        "trainer.precision=bf16",
        "data=cifar10",
        "recipe.weight_decay_on=weights",
        "recipe.bn_statistics=precise",
        "model.stem_bias=true",
    ],
)
def test_whatever_can_change_the_result_changes_the_identity(config, override):
    assert identity(compose([override])) != identity(config)


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=2",
        "trainer.steps_per_call=3",
        "trainer.checkpoint_every=7",
        "logger=none",
        "runs=elsewhere",
        "trainer=cpu",
        "trainer.threads=1",
        "trainer.activation_checkpoint=2",
        "trainer.deterministic=true",
    ],
)
def test_where_and_how_fast_does_not(config, override):
    assert identity(compose([override])) == identity(config)


def test_the_data_root_is_not_part_of_it():
    assert identity(compose(["data=cifar10"])) == identity(compose(["data=cifar10", "data.root=/elsewhere"]))


def test_unsynchronised_batch_norm_makes_the_number_of_devices_part_of_it(config):
    one = ["trainer.sync_batch_norm=false"]
    assert identity(compose(one)) == identity(config)
    assert identity(compose([*one, "trainer.devices=2"])) != identity(config)


def test_a_changed_default_changes_the_identity_of_a_run_that_did_not_name_it(config):
    changed = copy.deepcopy(config)
    changed["recipe"]["momentum"] = 0.8
    assert identity(changed) != identity(config)


def test_spelling_does_not_matter(config):
    respelt = {key: config[key] for key in reversed(config)}
    respelt["recipe"] = {**config["recipe"], "steps": 400.0, "drops": tuple(config["recipe"]["drops"])}
    assert identity(respelt) == identity(config)
    assert identity(compose(["trainer.precision=32"])) == identity(config)  # Hydra reads a number


def test_a_choice_and_its_values_typed_out_are_the_same_cell():
    assert identity(compose(["model=plain_cifar"])) == identity(compose(["model.shortcut=none"]))


def test_difference_names_the_keys():
    a, b = (canonical(compose([text])) for text in ("seed=0", "model.depth=56"))
    assert difference(a, b) == {"model.depth": (20, 56)}


def test_a_cell_of_a_line_is_the_cell_that_wrote_it(config):
    cell = Cell(config, ("model.depth=8",), "ResNet-8 A seed 0", 1, 2)
    line = json.loads(json.dumps(cell.to_json()))
    assert Cell.from_json(line).to_json() == line


@pytest.mark.parametrize(
    ("name", "overrides"),
    {
        "e4edf7a432cd": "seed=0",
        "b90344ed712e": "model.depth=110 seed=3",
        "8b2326e62ad9": "model=plain_cifar model.depth=56",
        "d1550455cd4f": "model=preact_cifar model.depth=164 data=cifar10 recipe=he2016_cifar",
        "4df67d9a2156": "model=resnet_imagenet data=imagenet recipe=he2015_imagenet",
        "02bc20937b6c": "model=akamaster data=akamaster recipe=akamaster",
        "6866326a7f22": "model.shortcut_type=exclusive_gating model.gate_bias=-6 data=cifar10 recipe=he2016_cifar",
        "260abebb26f8": "data=cifar100 recipe.learning_rate=0.05 trainer.precision=bf16",
        "6df841ab40b7": "trainer.devices=2 trainer.sync_batch_norm=false",
        "746f0d8c6221": "mode=benchmark trainer=cpu model.depth=8",
    }.items(),
)
def test_identities_stay_what_they_are(name, overrides):
    """Records on disks and runs on W&B have these names."""
    assert identity(compose(overrides.split())) == name
