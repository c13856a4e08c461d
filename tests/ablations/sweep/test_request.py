"""Overrides narrow a study or change it, names tell cells apart, and what was changed stays visible."""

from __future__ import annotations

import pytest

from ablations.sweep.plan import Sweep, sweep
from ablations.sweep.request import request
from lightning_module.support.errors import ConfigError


def asked(*overrides: str) -> Sweep:
    return sweep(request(overrides), ["python", "run.py", "-m", *overrides])


def departed(made: Sweep) -> set[str]:
    return {item["key"] for item in made.manifest.departures}


def test_a_study_as_it_is():
    made = asked("ablation=depth")
    assert len(made.cells) == 28
    assert made.manifest.departures == ()
    assert made.manifest.narrowed == ()


@pytest.mark.parametrize(
    ("overrides", "cells"),
    [
        (["ablation=depth", "model.depth=110"], 5),
        (["ablation=depth", "model.depth=110,1202", "seed=0"], 2),
        (["ablation=activation_placement", "model.shortcut=B", "seed=0"], 5),
        (["ablation=preactivation_depth", "data=cifar100", "seed=0"], 4),
        (["ablation=depth", "data=cifar10"], 28),
        (["ablation=shortcut_types", "model.shortcut_type=dropout"], 5),
        (["ablation=last_bn_gamma", "model.zero_init_last_bn=true", "seed=0"], 3),
    ],
)
def test_values_that_cells_have_narrow(overrides, cells):
    made = asked(*overrides)
    assert len(made.cells) == cells
    assert made.manifest.departures == ()


def test_other_data_and_recipe_change_the_study_and_are_told():
    made = asked("ablation=depth", "data=digits", "recipe=quick", "seed=0", "model.depth=20,32")
    assert [cell.name for cell in made.cells] == ["ResNet-20 seed 0", "ResNet-32 seed 0"]
    assert made.manifest.narrowed == ("seed=0", "model.depth=20,32")
    assert {"data.name", "recipe.steps"} <= departed(made)
    assert "model.depth" not in departed(made)
    (name,) = [item for item in made.manifest.departures if item["key"] == "data.name"]
    assert (name["study"], name["here"]) == (["cifar10"], ["digits"])


def test_cells_that_become_the_same_count_once():
    both = asked("ablation=preactivation_depth", "model.depth=164", "seed=0")
    assert len(both.cells) == 4
    assert len(asked("ablation=preactivation_depth", "model.depth=164", "seed=0", "data=digits").cells) == 2


def test_more_seeds_than_the_study_has():
    made = asked("ablation=depth", "model.depth=20", "seed=0,7")
    assert [cell.config["seed"] for cell in made.cells] == [0, 7]
    assert departed(made) == {"seed"}


def test_a_value_of_the_study_still_stands_over_a_changed_group():
    made = asked("ablation=depth", "model.depth=20", "seed=0", "recipe=quick", "recipe.batch_size=128")
    assert made.cells[0].config["recipe"]["batch_size"] == 128
    assert "recipe.batch_size" not in departed(made)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["ablation=depth", "model.depth=26"],
            "model.depth=26 is not a level of study depth; allowed are 20",
        ),
        (["ablation=shortcut_options", "model.shortcut=none"], "model.shortcut=none is not a level"),
        (["ablation=depth", "model.depth=1202", "seed=4"], "leave no cell of study depth"),
        (["ablation=depth", "model.dpth=20"], "model.dpth is not a key.*did you mean model.depth"),
        (["ablation=depth", "model.depth=32", "model.block=bottleneck"], "leaves no cell to run"),
        (["ablation=depth", "data=cifar11"], "cifar11"),
    ],
)
def test_what_cannot_be_is_said(overrides, says):
    with pytest.raises(ConfigError, match=says):
        asked(*overrides)


def test_impossible_combinations_are_left_out_with_their_reason():
    made = asked("ablation=downsampling", "seed=0", "model.depth=20")
    assert len(made.cells) == 8
    assert len(made.manifest.excluded) == 4
    assert all("needs model.downsampling=stride" in item["reason"] for item in made.manifest.excluded)


def test_names_show_what_the_network_does_not():
    made = asked("model.depth=20", "recipe.learning_rate=0.1,0.03")
    assert [cell.name for cell in made.cells] == [
        "ResNet-20 seed 0, learning_rate=0.1",
        "ResNet-20 seed 0, learning_rate=0.03",
    ]


@pytest.mark.parametrize("name", ["implementations", "preactivation_depth", "warm_up", "shortcut_types"])
def test_no_two_cells_of_a_study_have_one_name(name):
    cells = asked(f"ablation={name}").cells
    assert len({cell.name for cell in cells}) == len(cells)


def test_the_rerun_command_of_a_cell_is_that_cell():
    made = asked("ablation=implementations", "seed=0")
    for cell in made.cells[::5]:
        assert [again.identity for again in asked(*cell.overrides).cells] == [cell.identity]
