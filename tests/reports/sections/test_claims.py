"""The claims section: each sentence says what was tested, and no more."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest
from reports_of_synthetic_cells import collected

from ablations.study import Claim, Study, grid
from reports.numbers.join import Collected
from reports.pages.document import Column, Items, Table, cell, plain
from reports.sections.answer import answer
from reports.sections.claims import claims
from reports.sections.study import best_against_baseline

A, B = {"model.shortcut": "A"}, {"model.shortcut": "B"}
WORSE = Claim("B is worse", B, A, above=1, where="Table 9", reason="ours: half of Table 9")
STUDY = Study(
    question="Which?",
    source="here",
    base=[],
    cells=grid(model__shortcut=["A", "B"], model__depth=[20, 56], seed=range(3)),
    rows="model.depth",
    columns="model.shortcut",
    baseline="A",
    claims=[WORSE],
)


def made(
    differences: dict[int, list[Any]], claim: Claim = WORSE, level: float = 8.0, **more: Any
) -> Collected:
    """Cells with B - A equal to these values, by depth and seed; a text is the state of the B cell."""
    cells: dict[tuple[int, str, int], Any] = {}
    for depth, values in differences.items():
        for seed, value in enumerate(values):
            shared = level + 0.1 * math.sin(seed)
            cells[depth, "A", seed] = shared
            cells[depth, "B", seed] = shared + value if isinstance(value, float) else value
    return collected(cells | more.get("extra", {}), dataclasses.replace(STUDY, claims=[claim]))


def told(c: Collected) -> tuple[list[object], str]:
    """The row of the only claim, and its note."""
    section = claims(c)
    tables = [block for block in section.blocks if isinstance(block, Table) and block.name == "claims"]
    notes = [str(text) for block in section.blocks if isinstance(block, Items) for text in block.texts]
    (row,) = tables[0].rows
    return row, " ".join(notes)


def test_the_sentence_holds_the_margin_and_the_note_says_whose_it_is() -> None:
    row, note = told(made({20: [0.52, 0.3, 0.75, 0.5]}))
    assert row[0] == "B is worse, by at least 1 point"
    assert "Table 9. Its margin: ours: half of Table 9." in note


def test_an_effect_that_is_smaller_than_claimed_is_not_contradicted() -> None:
    """The issue's own: plain-56 against plain-20 at +0.52 [0.30, 0.75], margin 1."""
    row, note = told(made({20: [0.52, 0.32, 0.72, 0.45, 0.59]}))
    assert "smaller than claimed" in str(row[1])
    assert "An effect in the claimed direction is there, and it is smaller." in note
    row, note = told(made({20: [0.1, -0.2, 0.2, -0.1, 0.05]}))
    assert "smaller than claimed" in str(row[1])
    assert "Whether there is any effect in the claimed direction is open." in note
    assert "smaller than claimed" in str(answer(made({20: [0.52, 0.32, 0.72, 0.45, 0.59]})))


def test_pairs_are_those_of_the_interval() -> None:
    c = made({20: [2.0, 2.1, 1.9, 2.0, 2.05], 56: [1.5, 1.2, 1.9]})
    row, note = told(c)
    assert row[-1] == "3"
    assert row[2] == pytest.approx(1.533, abs=1e-3)
    assert "at each of 2 levels; shown: the least clear, depth 56." in note


def test_what_is_missing_is_said() -> None:
    row, note = told(made({20: [2.0, 2.1, 1.9, 2.0, None, "killed"], 56: [None] * 6}))
    assert row[-1] == "4 of 6"
    assert "Nothing yet at depth 56." in note
    assert "Pairs still open: 2." in note
    row, note = told(made({20: [2.0, 2.1, None, None, None]}))
    assert "No verdict before 3 pairs." in note
    assert cell(row[3], Column("", 2)) == "–"
    assert row[4] is None


def test_seeds_without_a_partner_are_said() -> None:
    extra = {(20, "A", 7): 8.0, (20, "A", 8): 8.0}
    _, note = told(made({20: [2.0, 2.1, 1.9]}, extra=extra))
    assert "Left out, because the other group was not asked for the seed: 2 runs." in note


def test_divergence_is_judged_by_ranks_and_said() -> None:
    row, note = told(made({20: [2.0, 2.1, "diverged", "diverged", 1.9]}))
    assert "Of 5 pairs, 2 diverged in the first group and 0 in the second: judged by ranks" in note
    assert row[-1] == "5, 3 finished"
    assert cell(row[3], Column("", 2)) == "–"
    assert "No number is needed" not in note


def test_what_it_would_take() -> None:
    _, note = told(made({20: [0.9, 1.6, 1.9, 1.2, 1.4]}))
    assert "pairs would settle it." in note


def test_at_chance_level_nothing_is_foretold() -> None:
    """Ten classes: 90 %. A difference of 20 points does not fit between 85 and 90."""
    far = Claim("B is far worse", B, A, above=20, reason="ours")
    values = {20: [5.0, -60.0, 4.0]}
    c = made(values, far, level=85.0)
    c = dataclasses.replace(c, cells=c.cells.assign(**{"data.classes": 10}))
    row, note = told(c)
    assert "undecided" in str(row[1])
    assert "would settle" not in note
    assert "there are less than 20 points to chance level (90 %)" in note


def test_as_good_says_what_it_rests_on() -> None:
    close = Claim("B is as good", B, A, within=0.5, reason="ours")
    row, note = told(made({20: [0.1, -0.1, 0.05, 0.02, -0.03, 0.0]}, close))
    assert "supported" in str(row[1])
    assert "It rests on 6 pairs: what goes wrong with one seed in ten is unseen in 53 % of such sets." in note
    row, note = told(made({20: [0.1, -0.1, 0.05, 0.02, -0.03]}, close))
    assert "undecided" in str(row[1])
    assert "With fewer than 6 pairs nothing is called as good." in note


def test_untested_says_why() -> None:
    deeper = Claim("deeper is better", {"model.depth": 110}, {"model.depth": 20}, below=0)
    assert "No such cells were asked for." in told(made({20: [1.0, 1.1]}, deeper))[1]
    deep = Claim(
        "deep B is worse than shallow A", {**B, "model.depth": 56}, {**A, "model.depth": 20}, above=0
    )
    assert "No pair has finished." in told(made({20: [1.0, 1.1], 56: [None, None]}, deep))[1]


def test_the_best_place_is_judged_as_the_best_of_all() -> None:
    text = best_against_baseline(made({20: [-2.0, -2.1, -1.9], 56: [-1.0, -1.1, -0.9]}))
    assert "98.3 % interval" in text
    assert "wider than a claim's because it was picked as the best of 4" in text


def first_screen(c: Collected) -> str:
    """The answer's sentences."""
    return " ".join(
        plain(text)
        for block in answer(c)
        for text in (block.texts if isinstance(block, Items) else [getattr(block, "text", "")])
    )


def test_the_answer_says_what_was_measured_in_its_unit_and_of_how_many() -> None:
    text = first_screen(made({20: [2.0, 2.1, 1.9, 2.0, 2.05]}))
    assert (
        "The claim is supported. Supported: B is worse, by at least 1 point. Test error differs by +2.01 "
        in text
    )
    assert re.search(r"points \[1\.\d\d, 2\.\d\d\], 5 pairs", text)
    assert "Test error differs by +2.00 points, 1 pair" in first_screen(made({20: [2.0]}))
    assert "differs at depth 56 by +1.20" in first_screen(made({20: [3.0, 3.1, 2.9], 56: [1.1, 1.2, 1.3]}))


def test_the_answer_of_runs_that_fail_or_diverge_counts_them() -> None:
    diverged = first_screen(made({20: [2.0, 2.1, "diverged", "diverged", 1.9]}))
    assert "Runs that diverged: 2 of 5 against 0 of 5" in diverged
    assert "differs" not in diverged
    fails = first_screen(made({20: [20.0, 1.0, 1.1, 30.0, 0.9]}, Claim("B fails", B, A, fails=20)))
    assert "Runs that failed: 2 of 5 against 0 of 5" in fails


def test_the_answer_says_why_there_is_no_best_and_how_many_are() -> None:
    cells: dict[tuple[int, str, int], Any] = {(depth, "A", 0): "diverged" for depth in (20, 56)}
    assert "Every run diverged." in first_screen(collected(cells, STUDY))
    assert "No cell has finished." in first_screen(collected(cells | {(20, "A", 0): "failed"}, STUDY))
    assert "n = 1; 2 more reach it)" in first_screen(
        collected({(d, "A", 0): 8.0 for d in (20, 32, 56)}, STUDY)
    )
    other = dataclasses.replace(STUDY, metric="layer_response/mean")
    assert "No finished cell has logged its mean layer response." in first_screen(
        collected({(20, "A", 0): 8.0}, other)
    )
