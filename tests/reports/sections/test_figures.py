"""Rows with long names stand below each other, and all of them have a curve."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from synthetic import make_cell, manifest, train

from lightning_module.cell.identity import Cell
from reports import sources
from reports.numbers.join import Collected, collect
from reports.pages.document import Figure
from reports.pages.svg import WIDTH, Panel, RowPanel, linear, text_width
from reports.sections import dots, figures

FACTORS = ("model.shortcut_type", "model.shortcut", "model.gate_bias", "model.scale", "seed")
ROWS = [
    ("identity", "A", 0, 1.0),
    ("identity", "C", 0, 1.0),
    ("constant_scaling", "A", 0, 0.5),
    ("constant_scaling", "A", 0, 0.0),
    *(("exclusive_gating", "A", bias, 1.0) for bias in range(0, -6, -1)),
]


def cell(row: tuple[str, str, int, float], seed: int) -> Cell:
    kind, shortcut, bias, scale = row
    return make_cell(
        seed=seed, shortcut=shortcut, model__shortcut_type=kind, model__gate_bias=bias, model__scale=scale
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Collected:
    runs: Path = tmp_path_factory.mktemp("runs")
    cells = [cell(row, seed) for row in ROWS for seed in range(2)]
    for index, one in enumerate(cells):
        train(runs, one, epochs=4, state="diverged" if index == 5 else "finished")
    made = manifest(runs, "types", cells, FACTORS)
    wide = collect(made, None, sources.load("records", runs, made))
    rows = [tuple(wide.cells[key].iloc[i] for key in FACTORS[:-1]) for i in range(len(cells))]
    wide.cells["row"], wide.cells["column"] = rows, [()] * len(cells)
    return dataclasses.replace(wide, row_keys=FACTORS[:-1], column_keys=())


def drawn(figure: Figure, panel: int) -> list[str]:
    return re.findall(r'<text class="t[^"]*end"[^>]*>([^<]*)</text>', figure.panels[panel])


def test_a_name_holds_only_what_tells_rows_apart_that_begin_alike(many):
    texts = many.rows
    assert len(set(texts.values())) == len(ROWS)
    assert texts["identity", "C", 0, 1.0] == "identity, option C"
    assert texts["exclusive_gating", "A", -3, 1.0] == "exclusive gating, bias −3"
    assert texts["constant_scaling", "A", 0, 0.5] == "constant scaling, scale 0.5"


def test_every_row_is_named_inside_the_figure(many):
    figure, training = dots.by_row(many)
    assert figure.height and figure.height > 22 * len(ROWS)
    assert " ".join(drawn(figure, 0)).count("exclusive gating") == 6
    assert len(figure.panels) == len(training.panels) == 1
    assert "1 diverged" in figure.panels[0]
    for x in re.findall(r' x="([\d.-]+)"', figure.panels[0]):
        assert 0 <= float(x) <= WIDTH


def test_a_long_name_takes_two_lines_and_no_more():
    panel = RowPanel("", linear("%", 0, 1), ["constant_scaling, shortcut scale 0.5, residual scale 0.5" * 2])
    lines = re.findall(r'<text class="t end"[^>]*>([^<]*)</text>', panel.svg())
    assert len(lines) == 2
    assert lines[1].endswith("…")


def test_every_row_has_its_curve_beside_the_first_one(many):
    figure = figures.learning_curves(many)
    assert figure is not None
    named = [name for panel in range(len(figure.panels)) for name in drawn(figure, panel) if "," in name]
    assert set(named) == set(many.row_names.values())
    assert named.count("identity, option A") == len(figure.panels) == 2


def test_no_error_axis_goes_beyond_100_percent(many):
    untrained = many.history.assign(**{"test/error": 100.0})
    figure = figures.learning_curves(dataclasses.replace(many, history=untrained))
    assert figure is not None
    assert len(figure.panels) == 2
    assert "The axis ends at 100 %" in figure.caption
    ticks = [text for text in drawn(figure, 0) if text.isdigit()]
    assert max(map(int, ticks)) == 100


def test_a_tick_at_the_end_of_an_axis_is_written_in_full():
    for plot in (
        Panel("", linear("", 0, 64000), linear("", 0, 1)),
        RowPanel("", linear("", 0, 60000), ["a"]),
    ):
        ticks = re.findall(r'<text class="t mid" x="([\d.]+)"[^>]*>([\d,]+)</text>', plot.svg())
        assert ticks
        assert max(float(x) + text_width(text) / 2 for x, text in ticks) <= WIDTH


def test_the_word_above_the_highest_mark_is_not_cut_off():
    panel = Panel("", linear("", 0, 1), linear("", 0, 1))
    panel.label(200, 0.99, "56")
    drawn = panel.svg()
    (top,), (y,) = re.findall(r'<svg x="\d+" y="(\d+)"', drawn), re.findall(r'y="([\d.]+)">56</text>', drawn)
    assert float(y) >= int(top) + 7.5, "its letters are 7.5 px high"
