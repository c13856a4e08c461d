"""The studies of the folder are right, and a mistake in one is a sentence that names file and field."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small import ROOT

import ablations
from ablations import after_resnet
from ablations.__main__ import main
from ablations.study import Claim, Levels, Published, Study, grid
from ablations.sweep import check_study as check
from ablations.sweep import studies
from ablations.sweep.compose import compose, register_studies
from ablations.sweep.plan import study_manifest
from lightning_module.cell import price
from lightning_module.cell.config import parse_config
from lightning_module.support.errors import ConfigError
from lightning_module.training.execution import without_graph

DOC = ROOT / "docs" / "studies.md"
BASE = ["model=resnet_cifar", "data=digits", "recipe=quick"]
EXPECTED = {
    "depth", "degradation", "layer_responses", "shortcut_options", "shortcut_options_imagenet", "depth_imagenet",
    "block_types", "shortcut_types", "activation_placement", "preactivation_depth", "implementations",
    "downsampling", "warm_up", "last_bn_gamma", "preactivation_imagenet", "after_resnet",
}  # fmt: skip


def small(**changed: object) -> Study:
    fields: dict[str, object] = {
        "question": "Does it?",
        "source": "a test",
        "base": BASE,
        "cells": grid(model__depth=[8, 14], model__shortcut=["A", "B"], seed=[0, 1]),
        "rows": "model.depth",
        "columns": "model.shortcut",
        "baseline": "A",
    }
    return Study(**{**fields, **changed})  # type: ignore[arg-type]


def claim(**levels: object) -> Claim:
    return Claim("it is", levels, {"model.shortcut": "A"}, below=0)  # type: ignore[arg-type]


def test_every_study_is_there():
    assert set(studies.names()) >= EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_study_of_the_folder_has_no_mistake(name):
    study = check.checked(name)
    assert study.question.endswith("?")
    assert study.claims


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: small(rows="model.dpth"), "rows: model.dpth is not one of model.depth"),
        (lambda: small(columns="model.depth"), "columns: model.depth is not one of"),
        (lambda: small(baseline="D"), "baseline: D is not one of A, B"),
        (lambda: small(baseline={"model.shortcut": "D"}), "baseline: model.shortcut: D is not one of A, B"),
        (lambda: small(baseline={"model.width": 16}), "baseline: model.width is not one of model.depth"),
        (lambda: grid(seed=[0, 1, 0]), "cells: seed=0 stands twice"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 1}), "exactly one of below, above, within and fails"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 1}, above=0, fails=20), "exactly one of"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 1}, above=-1), "a margin is not negative"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 1}, fails=0), "fails=0 of test/error is not .* above 0 and below"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 1}, fails=2, metric="train/loss"), "train/loss is not .* in percent"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 1}, below=0, over="all"), "over: all is not one of each, mean"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 1}, fails=20, over="mean"), "fails counts runs"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 0}, below=0), "the same cells"),
        (lambda: Claim("x", {"seed": 0}, {"seed": 1}, below=0, metric="test/eror"), "metric: test/eror is not"),
        (lambda: Published({"seed": 0}, 6.61, "Table 6", metric="test/eror"), "metric: test/eror is not"),
        (lambda: small(metric="layer_response/rank 0"), "metric: layer_response/rank 0 is not one of test/error"),
        (lambda: check._check(small(base=["model=resnet_cifr"])), "base: .*did you mean resnet_cifar"),
        (lambda: check._check(small(cells=grid(model__depth=[8, 57], model__shortcut="A"))), "model.depth=57 .*56"),
        (
            lambda: check._check(small(base=[*BASE, "model.dpth=8"])),
            "base: model.dpth is not a key.*did you mean model.depth",
        ),
        (lambda: check._check(small(claims=[claim(**{"model.depth": 20})])), r"claims\[0\].of: no cell"),
        (
            lambda: check._check(small(claims=[claim(**{"model.depth": 8})])),
            r"claims\[0\].of: it leaves model.shortcut open, which the other side fixes",
        ),
        (lambda: check._check(small(claims=[claim(**{"model.dpth": 8})])), r"claims\[0\].of: model.dpth is not a key"),
        (
            lambda: check._check(
                small(
                    cells=grid(model=["resnet_cifar", "fb_resnet_torch"], model__depth=8),
                    rows="model",
                    columns=None,
                    baseline=None,
                )
            ),
            "are the same run",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_field(make: Callable[[], object], says: str):
    with pytest.raises(ConfigError, match=says):
        make()


@pytest.mark.parametrize("devices", [1, 2])
def test_scaling_compares_steps_that_are_made_alike(devices):
    """Several processes cannot use a CUDA graph, so one does not either; its record says why."""
    config = parse_config(compose((*studies.load("scaling").base, f"trainer.devices={devices}")))
    why = "several processes" if devices > 1 else "trainer.cuda_graph=false"
    assert without_graph(config.trainer, torch.device("cuda")) == why


def test_scaling_has_processes_in_place_of_devices_on_a_cpu(capsys):
    """A CUDA graph that is typed is refused there; the study's own word is not."""
    words = ["plan", "scaling", "trainer=cpu", "data=digits", "trainer.devices=1,2"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert [f"devices={number}" in said for number in (1, 2, 4)] == [True, True, False]
    for word in ("true", "false"):
        assert main([*words, f"trainer.cuda_graph={word}"]) != 0
        assert f"trainer.cuda_graph={word} has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("name", studies.names())
def test_every_number_of_a_paper_says_how_its_protocol_differs(name):
    for number in studies.load(name).published:
        assert "batch normalisation saw" in number.differs, number


def said(**margin: Any) -> str:
    return Claim("B is as A", {"seed": 0}, {"seed": 1}, **margin).sentence


def test_a_claim_is_said_with_its_margin_and_unit():
    assert said(above=1) == "B is as A, by at least 1 point"
    assert said(below=0.5) == "B is as A, by at least 0.5 points"
    assert said(below=0) == said(above=0) == "B is as A"
    assert said(within=0.25, over="mean") == "B is as A, on average, within ±0.25 points"
    assert said(fails=20) == "B is as A: error above 20 %"
    assert said(within=0.02, metric="train/loss") == "B is as A, within ±0.02"
    assert said(above=0.1, metric="layer_response/rank 3") == "B is as A, by at least 0.1"
    assert said(above=100, metric="images_per_second") == "B is as A, by at least 100 images/s"


@pytest.mark.parametrize("name", studies.names())
def test_every_margin_says_whose_it_is_and_no_text_names_it_twice(name):
    for claim in studies.load(name).claims:
        assert claim.reason.startswith(("ours: ", "the paper's: ")) == (claim.margin > 0), claim
        assert not re.search(r" by (\w+ )?points?\b|one point", claim.text), claim
        assert ("fail" in claim.text) == (claim.fails is not None), claim


UNDECIDED = {"depth": 3, "depth_imagenet": 3, "shortcut_options_imagenet": 3}
"""Pairs of seeds of the studies whose networks cost too much for six."""


@pytest.mark.parametrize("name", studies.names())
def test_what_is_to_be_as_good_has_six_pairs_in_every_group(name):
    study = studies.load(name)
    for claim in study.claims:
        if claim.within is None:
            continue
        free = {*study.factors} - {*claim.of, *claim.than, "seed"}
        of, than = (seeds_by(free, study, levels) for levels in (claim.of, claim.than))
        pairs = {len(of[group] & than[group]) for group in set(of) & set(than)}
        assert pairs == {UNDECIDED.get(name, 6)}, claim


def seeds_by(free: set[str], study: Study, levels: Levels) -> dict[frozenset[tuple[str, object]], set[int]]:
    """Levels of the free factors -> seeds of the cells that have them and these levels."""
    found: dict[frozenset[tuple[str, object]], set[int]] = {}
    for cell in study.cells.cells:
        if levels.items() <= cell.items():
            group = frozenset((key, cell[key]) for key in free & set(cell))
            found.setdefault(group, set()).add(cell["seed"])
    return found


PAPER_PAIRS = [
    (claim, of, than)
    for name in studies.names()
    for claim in studies.load(name).claims
    for of in studies.load(name).published
    for than in studies.load(name).published
    if of.metric == than.metric == claim.metric
    and claim.of.items() <= of.levels.items()
    and claim.than.items() <= than.levels.items()
    and not {key for key, _ in of.levels.items() ^ than.levels.items()} - {*claim.of, *claim.than}
]


def test_claims_have_numbers_of_a_paper():
    assert len({id(claim) for claim, *_ in PAPER_PAIRS}) > 40


@pytest.mark.parametrize(("claim", "of", "than"), PAPER_PAIRS)
def test_a_claim_holds_for_the_paper_s_own_numbers(claim: Claim, of: Published, than: Published):
    """A limit, such as "above 20", counts with the value that it allows and that speaks least for the claim."""
    difference = of.value - than.value
    if claim.fails is not None:
        assert (of.value, of.bound) >= (claim.fails, "above") and than.value < claim.fails and not than.bound
    elif claim.within is not None:
        assert abs(difference) <= claim.within and not of.bound and not than.bound
    elif claim.below is not None:
        assert difference < 0 and difference <= -claim.below and of.bound != "above" and than.bound != "below"
    else:
        assert claim.above is not None
        assert difference > 0 and difference >= claim.above and of.bound != "below" and than.bound != "above"


def test_an_impossible_combination_is_no_mistake():
    check._check(
        small(cells=grid(model__downsampling=["stride", "max_pool"], model__shortcut_pooling=["subsample", "max"],
                         model__depth=8), columns=None, baseline=None)
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of studies beside the real one."""

    def forget() -> None:
        for cached in (studies.names, studies.load, check.checked):
            cached.cache_clear()

    monkeypatch.setattr(studies, "FOLDER", tmp_path)
    monkeypatch.setattr(ablations, "__path__", [*ablations.__path__, str(tmp_path)])
    forget()
    yield tmp_path
    forget()
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"ablations.{path.stem}", None)


def test_a_new_study_is_the_file_that_the_document_shows(folder):
    code = DOC.read_text().split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) <= 30
    (folder / "width.py").write_text(code)
    register_studies()  # as a new process does
    manifest = study_manifest("width", ["data=digits", "recipe=quick"])
    assert len(manifest.cells) == 15
    assert {cell["config"]["model.width"] for cell in manifest.cells} == {8, 16, 32}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("STUDY = Study(", "ablations/broken.py, line 1: SyntaxError"),
        ("from ablations.study import Study\nSTUDY = Study(rws='x')", "broken.py, line 2: TypeError.*rws"),
        ("from ablations.study import grid\nSTUDY = grid(seed=[0, 0])", "ablations/broken.py: cells: seed=0"),
        ("STUDY = 1", "ablations/broken.py: STUDY is not a Study"),
    ],
)
def test_a_broken_file_is_named(folder, code, says):
    (folder / "broken.py").write_text(code)
    with pytest.raises(ConfigError, match=says):
        studies.load("broken")


def test_what_is_called_equal_in_after_resnet_is_within_8_percent():
    def costs(networks: list[Levels]) -> list[Any]:
        texts = [[check.override(key, level) for key, level in network.items()] for network in networks]
        return [price.of(parse_config(compose(["data=cifar10", *each]))) for each in texts]

    base = costs([after_resnet.RESNET_110])[0]
    for cost in costs(after_resnet.EQUAL_PARAMETERS):
        assert cost.parameters == pytest.approx(base.parameters, rel=0.08)
    for cost in costs(after_resnet.EQUAL_MULTIPLY_ADDS):
        assert cost.multiply_adds == pytest.approx(base.multiply_adds, rel=0.08)
