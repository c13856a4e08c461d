"""The studies of the folder with invented runs: the paper's numbers of every metric, and what they stand beside."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest
from reports_of_synthetic_cells import frames

from ablations.sweep import studies
from ablations.sweep.plan import study_manifest
from ablations.verdicts.results import response
from reports.numbers.join import Collected, collect
from reports.pages.document import Folded, Items, Table, Text
from reports.sections import figures
from reports.sections import study as study_report
from reports.sections.protocol import protocol
from reports.sections.report import build_report


def made(name: str, *overrides: str) -> Collected:
    """A study whose cells all finished; the deeper, the weaker the layers' responses."""
    manifest = study_manifest(name, ["seed=0,1,2", *overrides])
    found = frames((cell, "finished", 8 + 0.1 * (i % 3)) for i, cell in enumerate(manifest.cells))
    events = {cell["identity"]: [responses(cell["config"])] for cell in manifest.cells}
    return collect(manifest, studies.load(name), dataclasses.replace(found, events=events))


def responses(config: dict[str, Any]) -> dict[str, Any]:
    depth, plain = config["model.depth"], config["model.shortcut"] == "none"
    strongest = 2 + plain + 10 / depth + 0.01 * config["seed"] * (depth / 56 + plain)
    layers = [[f"layer {i}", strongest / math.sqrt(i)] for i in range(1, depth)]
    return {"event": "layer_responses", "responses": layers[::-1]}


def table(c: Collected, name: str) -> Table:
    report = build_report(c, "python -m reports")
    (found,) = [block for block in report.blocks if isinstance(block, Table) and block.name == name]
    return found


def test_claims_about_responses_are_judged() -> None:
    c = made("layer_responses")
    assert c.study
    assert {verdict.word for verdict in c.verdicts} == {"supported"}
    assert "The lowest mean layer response is" in str(build_report(c, "").blocks)


def test_a_rank_is_the_nth_strongest_layer() -> None:
    events = [{"event": "layer_responses", "responses": [["a", 1.0], ["b", 3.0], ["c", 2.0]]}]
    found = [response(events, f"layer_response/{what}") for what in ("mean", "rank 1", "rank 3", "rank 4")]
    assert found[:3] == [2.0, 3.0, 1.0]
    assert math.isnan(found[3])
    assert math.isnan(response([], "layer_response/mean"))


def test_responses_stand_beside_those_of_the_figure() -> None:
    rows = table(made("layer_responses"), "against_paper_other_metrics").rows
    (row,) = [row for row in rows if row[:3] == ["110", "option A", "layer response rank 10"]]
    assert row[3].mean == pytest.approx((2 + 10 / 110 + 0.01 * (110 / 56)) / math.sqrt(10))
    assert row[4] == "1.25"


def test_only_an_error_is_said_to_be_in_percent() -> None:
    for name, percent in (("layer_responses", False), ("depth", True)):
        figure = figures.by_cost(made(name))
        assert figure is not None
        tips = re.findall(r"<title>([^<]*multiply-adds)</title>", figure.panels[0])
        assert len(tips) > 2
        assert {" %, " in tip for tip in tips} == {percent}, tips


@pytest.mark.parametrize(
    ("name", "metric", "printed"),
    [
        ("degradation", "training error, %", "5.8"),
        ("depth", "training error, %", "< 0.1"),
        ("depth_imagenet", "ten-crop top-5 error, %", "5.71"),
        ("depth_imagenet", "multi-scale error, %", "19.38"),
        ("depth_imagenet", "test error, %", "28.2"),
    ],
)
def test_every_number_of_the_paper_is_shown(name: str, metric: str, printed: str) -> None:
    c = made(name)
    rows = [*table(c, "against_paper").rows, *table(c, "against_paper_other_metrics").rows]
    assert any({metric, printed} <= {value for value in row if isinstance(value, str)} for row in rows)
    assert c.study
    shown = sum("no published number" not in row for row in rows)
    assert shown >= len(c.study.published)


def test_without_columns_the_paper_stands_in_the_table_of_places() -> None:
    c = made("depth")
    found = table(c, "groups")
    labels = [column.label for column in found.columns]
    papers = [row[labels.index("paper")] for row in found.rows]
    assert papers == ["8.75", "7.51", "7.17", "6.97", "6.61 ± 0.16", "7.93"]
    assert "paper" not in [column.label for column in table(made("degradation"), "groups").columns]


def test_protocol_differences_are_said_once_and_numbered() -> None:
    found = table(made("degradation"), "against_paper")
    assert found.columns[-1].label == "its protocol differs"
    numbers = {row[-1] for row in found.rows} - {None}
    assert numbers == set(range(1, len(numbers) + 1))
    (notes,) = [
        block.blocks[0].texts
        for block in study_report.against_paper(made("degradation")).blocks
        if isinstance(block, Folded) and isinstance(block.blocks[0], Items)
    ]
    assert [str(note).partition(" ")[0] for note in notes] == [f"({number})" for number in sorted(numbers)]


def test_the_protocol_says_each_difference_from_the_paper_once() -> None:
    said = [block.text for block in protocol(made("degradation")).blocks if isinstance(block, Text)]
    (differs,) = [text for text in said if str(text).startswith("The paper's protocol differs")]
    assert str(differs).count("two GPUs") == 1
    assert str(differs).endswith("; read off a curve that is drawn while training goes on.")


def test_numbers_of_another_protocol_have_no_difference() -> None:
    c = made("degradation", "data=digits", "recipe=quick")
    (section,) = [study_report.against_paper(c)]
    (found,) = [block for block in section.blocks if isinstance(block, Table)]
    labels = [column.label for column in found.columns]
    assert {row[labels.index("difference")] for row in found.rows} == {None}
