"""What settling would probably cost, from the numbers of the papers."""

from __future__ import annotations

import pytest

from ablations.study import Claim, Published, Study, grid
from ablations.sweep.rounds import Standing
from ablations.sweep.simulate import simulate
from ablations.verdicts.results import Result
from lightning_module.support.errors import ConfigError

KEY = "model.depth"
STUDY = Study(
    question="?",
    source="ours",
    base=[],
    cells=grid(model__depth=[20, 32, 56], seed=range(5)),
    rows=KEY,
    published=[
        Published({KEY: 20}, 9.0, "Table 1", "best"),
        Published({KEY: 20}, 8.0, "Table 1", "mean", std=0.01),
        Published({KEY: 56}, 10.0, "Table 1", bound="above"),
    ],
    claims=[
        Claim("far", of={KEY: 20}, than={KEY: 56}, below=0),
        Claim("alike", of={KEY: 20}, than={KEY: 32}, below=0),
    ],
)


def standing(study: Study = STUDY, budget: float | None = None) -> Standing:
    results = [
        Result(f"{cell[KEY]}/{cell['seed']}", {key: cell[key] for key in (KEY, "seed")}, "finished")
        for cell in study.cells.cells
    ]
    prices = {each.identity: 1.0 for each in results}
    return Standing(study.claims, results, (KEY, "seed"), prices, budget=budget)


def test_what_is_far_apart_is_settled_early_and_what_is_alike_is_not():
    made = simulate(standing(), STUDY, studies=40)
    told = made.to_json()
    far, alike = told["claims"]
    assert far["words"] == {"supported": 1.0} and far["as_with_all_seeds"] == 1.0
    assert alike["words"]["undecided"] >= 0.9
    assert 9.0 <= told["device_hours"]["mean"] < made.whole == 15.0
    assert made.notes == [
        "no number is printed of test/error at depth 32: that at depth 20 is taken",
        "of test/error at depth 56 a limit is printed: twice it is taken",
    ]
    assert simulate(standing(), STUDY, studies=40) == made  # nothing random


def test_a_larger_spread_and_a_budget_count():
    usual, wide = (simulate(standing(), STUDY, sd, studies=20).to_json() for sd in (0.16, 40.0))
    assert wide["claims"][0]["words"].get("supported", 0.0) < usual["claims"][0]["words"]["supported"]
    assert max(simulate(standing(budget=7.0), STUDY, studies=20).hours) <= 7.0


def test_without_a_printed_number_it_is_one_sentence():
    other = Study("?", "ours", [], STUDY.cells, KEY, claims=STUDY.claims)
    with pytest.raises(
        ConfigError, match="--simulate draws from numbers that a paper printed, .* none of test/error"
    ):
        simulate(standing(), other)
