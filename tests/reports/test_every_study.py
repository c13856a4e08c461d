"""The report of every study comes out, whatever part of it was asked for and whatever state its cells are in."""

from __future__ import annotations

import dataclasses
import functools
import random
import re
from typing import Any

import pytest
from reports_of_synthetic_cells import frames

from ablations.sweep import studies
from ablations.sweep.manifest import Manifest
from ablations.sweep.plan import study_manifest
from ablations.words import setting
from reports.numbers.join import collect
from reports.pages.document import Table
from reports.pages.markdown import markdown
from reports.sections import study as study_report
from reports.sections.report import build_report
from reports.sources import Frames

SEEDS = "0,1"
NOTHING = frames([])


@functools.cache
def whole(name: str) -> Manifest:
    return study_manifest(name, [f"seed={SEEDS}"])


def invented(manifest: Manifest) -> Frames:
    """Every third cell is finished, diverged or failed, the others finished."""
    cells: list[tuple[dict[str, Any], str, float]] = []
    for index, cell in enumerate(manifest.cells):
        state = {3: "diverged", 6: "failed"}.get(index % 9, "finished")
        cells.append((cell, state, 8 + random.Random(cell["identity"]).gauss(0, 1)))
    return frames(cells)


def rendered(manifest: Manifest, found: Frames) -> str:
    c = collect(manifest, studies.load(manifest.study or ""), found)
    return markdown(build_report(c, "python -m reports"))


@pytest.mark.parametrize("name", studies.names())
def test_one_level_of_a_factor_is_a_report(name: str) -> None:
    study, manifest = studies.load(name), whole(name)
    everything = collect(manifest, study, NOTHING)
    for factor in study.factors:
        for level in study.levels(factor)[: 1 if factor == "seed" else None]:
            identities = {
                identity
                for identity, value in zip(
                    everything.cells["identity"], everything.cells[factor], strict=True
                )
                if value == level
            }
            cells = tuple(cell for cell in manifest.cells if cell["identity"] in identities)
            part = dataclasses.replace(manifest, cells=cells, narrowed=(f"{factor}={level}",))
            if cells:
                assert f"Only a part of the study's cells: `{factor}={level}`" in rendered(part, NOTHING)


@pytest.mark.parametrize("name", studies.names())
def test_every_state_is_a_report_in_words_for_people(name: str) -> None:
    """Refused: names of the configuration, and numbers or truth values without their key."""
    study, manifest = studies.load(name), whole(name)
    c = collect(manifest, study, invented(manifest))
    text = markdown(build_report(c, "python -m reports"))
    assert "nan" not in text.replace("nance", "")
    for word in ("diverged", "failed", "finished"):
        assert word in text
    levels = [(key, level) for key in study.factors if key != "seed" for level in study.levels(key)]
    names = [setting(*each) for each in levels] + [place.text for place in c.places]
    for words in (*names, *c.row_names.values(), *filter(None, c.columns.values()), c.row_heading):
        assert re.search("[A-Za-z]", words) and "_" not in words, words
        assert not re.search(r"\b(yes|no|none)$", words), words
    first = text.split("\n## ")[0]
    assert not re.search(r"\w_\w|\b(model|recipe|data)\.\w", re.sub(r"\]\([^)]*\)", "]", first)), first
    assert "](figures/" in first


@pytest.mark.parametrize(
    "name", [name for name in studies.names() if studies.load(name).baseline is not None]
)
def test_everything_has_its_difference_from_the_baseline(name: str) -> None:
    """Every place but the baselines themselves; of shortcut_types all 15 rows below the identity."""
    manifest = whole(name)
    c = collect(manifest, studies.load(name), frames((cell, "finished", 8.0) for cell in manifest.cells))
    *_, table = study_report.differences(c).blocks
    without = [place for place in c.places if study_report.baseline(c, place) is None]
    assert isinstance(table, Table)
    itself = sum(study_report.baseline(c, place) == place for place in c.places)
    assert len(table.rows) == len(c.places) - itself - len(without)
    # such as ResNet-110 without a plain network, bottlenecks of 83 and 164 layers, option B at 50 and more
    alone = {"layer_responses": 1, "block_types": 2, "depth_imagenet": 3, "downsampling": 0}
    alone |= {"preactivation_depth": 1, "preactivation_imagenet": 1}  # batches of 64; areas and aspects
    assert len(without) == alone.get(name, 0), without
    if name == "shortcut_types":
        assert len(table.rows) == 15


def printed(name: str) -> dict[str, set[tuple[str, float]]]:
    """Row and column of a study's tables -> the numbers of the paper that stand there."""
    c = collect(whole(name), studies.load(name), NOTHING)
    return {
        place.text: {(number.metric, number.value) for number in study_report.published_for(c, place)}
        for place in c.places
    }


def test_the_authors_code_has_its_own_number_at_1001_layers() -> None:
    here = printed("preactivation_depth")
    code = {("test/error", 4.62), ("test/error", 4.69)}
    assert [place for place, numbers in here.items() if numbers & code] == [
        place for place in here if "fb.resnet.torch" in place
    ]
    assert code in here.values()
    assert {("test/error", 4.92), ("test/error", 4.89)} in here.values()


def test_pre_activation_on_imagenet_stands_beside_table_5() -> None:
    small, large = "test/error", "test_crop_320/error"
    small5, large5 = "test/top5_error", "test_crop_320/top5_error"
    assert list(printed("preactivation_imagenet").values()) == [
        {(small, 23.6), (small5, 7.1)},
        {(small, 24.6), (small5, 7.5)},
        {(small, 23.0), (small5, 6.7), (large, 21.3), (large5, 5.5)},
        {(large, 21.1), (large5, 5.5)},
        {(large, 21.8), (large5, 6.0)},
        {(large, 20.7), (large5, 5.3)},
        {(large, 20.1), (large5, 4.8)},
    ]


def test_table_4_stands_beside_b_and_c() -> None:
    rows = printed("shortcut_options_imagenet")
    scales = {place: {value for metric, value in rows[place] if "multi_scale" in metric} for place in rows}
    assert list(scales.values()) == [set(), {21.84, 5.71}, {21.53, 5.60}, set()]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("preactivation_depth", ["data=digits", "recipe=quick"]),
        ("implementations", ["recipe=quick"]),
        ("depth_imagenet", ["model.depth=18"]),
        ("block_types", ["model.block=basic", "data=digits"]),
        ("scaling", ["trainer.devices=1,2", "data=digits", "trainer=cpu"]),
    ],
)
def test_a_change_is_a_report(name: str, overrides: list[str]) -> None:
    manifest = study_manifest(name, [*overrides, f"seed={SEEDS}"])
    assert rendered(manifest, NOTHING)
    assert rendered(manifest, invented(manifest))
