from __future__ import annotations

import os

import pytest

from ablations.sweep import manifest
from ablations.sweep.manifest import slug
from ablations.sweep.plan import sweep
from ablations.sweep.request import request
from ablations.sweep.results import levels_of
from lightning_module.cell.identity import whole
from lightning_module.support.errors import ConfigError


def name(*overrides: str) -> str:
    return sweep(request(overrides), ["python", "run.py", *overrides]).manifest.name


def test_the_name_says_what_is_trained_and_not_where():
    assert name("model.depth=20,56") == "depth_20_56"
    assert (
        name("model.depth=20,56", "runs=/tmp/elsewhere", "logger=none", "trainer.threads=1") == "depth_20_56"
    )
    assert name("trainer.precision=bf16") == "precision_bf16"


def test_the_factors_are_what_varies_with_the_typed_ones_first_and_seeds_last():
    manifest = sweep(request(["seed=0,1", "model.depth=20,56", "model.shortcut=A,B"]), []).manifest
    assert manifest.factors == ("model.depth", "model.shortcut", "seed")


def test_cells_that_are_the_same_run_count_once():
    assert len(sweep(request(["model=resnet_cifar", "recipe.momentum=0.9,0.90"]), []).cells) == 1


def test_others_may_read_a_manifest_as_far_as_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        path = manifest.write(tmp_path, sweep(request(["seed=0"]), []).manifest)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert manifest.read(path).name == "seed_0"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "is not a sweep manifest"),
        ("{", "is not a sweep manifest"),
        (None, "cannot be read .it is not a file"),
    ],
)
def test_what_is_not_a_manifest_is_one_sentence(tmp_path, content, said):
    path = tmp_path / "x.json"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        manifest.read(path)


STUDY = ("ablation=degradation", "data=digits", "recipe=quick")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            (*STUDY, "trainer.devices=2"),
            (*STUDY, "trainer.devices=2", "trainer.sync_batch_norm=false"),
        ),
        (
            (*STUDY, "trainer.devices=2", "trainer.sync_batch_norm=false"),
            (*STUDY, "trainer.devices=4", "trainer.sync_batch_norm=false"),
        ),
        (("mode=benchmark", "trainer.compile=false"), ("mode=benchmark", "trainer.compile=true")),
        (("mode=benchmark", "trainer=cpu"), ("mode=benchmark",)),
        (("recipe.drops=[100,200],[300]",), ("recipe.drops=[100],[200,300]",)),
        (
            (*STUDY, "recipe.learning_rate=0.123456789", "recipe.weight_decay=0.000123456789", "seed=0"),
            (*STUDY, "recipe.learning_rate=0.123456789", "recipe.weight_decay=0.000123456789", "seed=1"),
        ),
    ],
)
def test_sweeps_of_other_cells_have_other_names(one, other):
    """Else the manifest of one takes the place of the other's, and cells that never ran are holes no more."""
    a, b = (sweep(request(overrides), []) for overrides in (one, other))
    assert {cell.identity for cell in a.cells} != {cell.identity for cell in b.cells}
    assert a.manifest.name != b.manifest.name


@pytest.mark.parametrize(
    "more",
    [
        ("trainer.devices=2",),
        ("trainer=cpu",),
        ("trainer.sync_batch_norm=false",),
        ("trainer.steps_per_call=5", "trainer.compile=true"),
    ],
)
def test_the_same_cells_run_in_another_way_keep_their_name(more):
    assert name(*STUDY, *more) == name(*STUDY)


def test_long_names_are_cut_and_stay_apart():
    overrides = [
        "model.depth=20,32,44,56,110",
        "model.shortcut=A,B,C",
        "recipe.learning_rate=0.05,0.1,0.15,0.2",
    ]
    one, other = (slug([*overrides, f"seed=0,1,2,3,{seed}"]) for seed in (4, 5))
    assert len(one) == len(other) == 80
    assert one != other


def test_a_neutral_level_is_a_level():
    """A configuration leaves it out, and whoever tells cells apart by it must not."""
    manifest = sweep(request(["model.stochastic_depth=0,0.5", "model.widen=1,2"]), []).manifest
    levels = levels_of(manifest, None)
    assert [(each["model.stochastic_depth"], each["model.widen"]) for each in levels] == [
        (0, 1), (0, 2), (0.5, 1), (0.5, 2)
    ]  # fmt: skip
    (cell,) = sweep(request(["model=densenet"]), []).manifest.cells
    assert "model.widen" not in whole(cell["config"])
