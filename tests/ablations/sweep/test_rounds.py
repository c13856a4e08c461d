"""The next round by hand-made results: what it runs, what it leaves out, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ablations.study import Claim
from ablations.sweep.estimate import budget_hours
from ablations.sweep.rounds import Round, Standing, next_round
from ablations.verdicts.results import Result
from lightning_module.support.errors import ConfigError

KEY = "model.depth"
GOOD, BAD = [8.0, 8.1, 7.9, 8.05, 7.95], [18.0, 18.1, 17.92, 18.02, 17.97]
CLOSE = [8.05, 8.0, 8.02, 7.9, 8.1]


def group(depth: int, values: Sequence[float | str], seeds: int = 5, **levels: Any) -> list[Result]:
    """Runs of one network: their errors, or their states; those that are not named were not run."""
    runs = []
    for seed in range(seeds):
        value = values[seed] if seed < len(values) else "planned"
        state = value if isinstance(value, str) else "finished"
        metrics = {} if isinstance(value, str) else {"test/error": value}
        at = {key.replace("__", "."): level for key, level in levels.items()}
        name = "/".join(map(str, [depth, *at.values(), seed]))
        runs.append(Result(name, {KEY: depth, "seed": seed, **at}, state, metrics))
    return runs


def claim(of: int, than: int, **margin: float) -> Claim:
    return Claim(f"{of} is better than {than}", {KEY: of}, {KEY: than}, **(margin or {"below": 0}))


def standing(
    results: Sequence[Result], *claims: Claim, prices: Mapping[str, float] | None = None, **more: Any
) -> Standing:
    every = {each.identity: 1.0 for each in results} | dict(prices or {})
    return Standing(claims, results, (KEY, "model.shortcut", "seed"), every, **more)


def chosen(*cells: str) -> Round:
    return Round(1, cells, ())


def test_the_first_round_is_a_look_at_three_seeds_of_each_group():
    made = next_round(standing(group(20, []) + group(56, []) + group(110, []), claim(56, 20)))
    assert made.cells == ("20/0", "20/1", "20/2", "56/0", "56/1", "56/2")  # and nothing that no claim needs
    assert (made.number, made.expected, made.used, made.end) == (1, 6.0, 0.0, "")
    (step,) = made.claims
    assert (step.state, step.pairs, step.chance, step.hours) == ("open", 3, 1.0, 6.0)


def test_what_is_there_counts_and_is_not_paid_for():
    made = next_round(standing(group(20, GOOD) + group(56, []), claim(56, 20)))
    assert made.cells == ("56/0", "56/1", "56/2") and made.expected == 3.0


def test_a_settled_claim_gets_no_more_seeds():
    made = next_round(standing(group(20, BAD[:3]) + group(56, GOOD[:3]), claim(56, 20)))
    assert made.cells == () and made.end == "1 of 1 claim settled"
    assert (made.claims[0].state, made.claims[0].said) == ("settled", "supported after 3 pairs")


def test_the_next_step_is_the_fewest_pairs_that_decide_it_more_likely_than_not():
    of, than = [8.0, 8.3, 7.9], [9.0, 8.9, 9.4]
    made = next_round(standing(group(20, than, 10) + group(56, of, 10), claim(56, 20)))
    (step,) = made.claims
    assert 3 < step.pairs < 10 and step.chance >= 0.5
    assert len(made.cells) == 2 * (step.pairs - 3) and made.cells[0] == "20/3"


def test_a_claim_that_no_seed_decides_is_out_of_reach_with_its_number():
    made = next_round(standing(group(20, CLOSE[:3]) + group(56, GOOD[:3]), claim(56, 20, below=3)))
    assert made.claims[0].state == "settled"  # "smaller than claimed" is a word
    results = group(20, [8.0, 8.5, 7.4]) + group(56, [8.1, 7.7, 8.2])
    many = [claim(56, 20), *(claim(110 + i, 20) for i in range(5))]
    made = next_round(standing(results, *many))
    assert made.claims[0].state == "out of reach"
    assert (
        made.claims[0].said == "even 5 seeds would decide it with a chance of less than 1 %"
        and not made.cells
    )
    assert (
        made.claims[1].said == "the sweep has no cells of it"
        and made.end == "0 of 6 claims settled, 6 out of reach"
    )


def test_one_seed_decides_nothing_and_is_not_run():
    made = next_round(standing(group(20, [], 1) + group(56, [], 1), claim(56, 20)))
    assert made.claims[0].state == "out of reach" and not made.cells


def test_all_seeds_used_up_is_said():
    made = next_round(standing(group(20, CLOSE) + group(56, GOOD), claim(56, 20)))
    assert (made.claims[0].state, made.cells) == ("used up", ())
    assert made.claims[0].said == "undecided after all 5 pairs there are"


def test_levels_that_are_clear_get_no_more():
    def at(shortcut: str, of: Sequence[float], than: Sequence[float]) -> list[Result]:
        return group(56, of, 8, model__shortcut=shortcut) + group(20, than, 8, model__shortcut=shortcut)

    results = at("A", GOOD[:3], BAD[:3]) + at("B", [8.0, 8.3, 7.9], [9.0, 8.9, 9.4])
    made = next_round(standing(results, claim(56, 20)))
    assert made.cells and {name.split("/")[1] for name in made.cells} == {"B"}


def test_a_claim_of_a_mean_needs_all_its_levels():
    both = [
        each for shortcut in "AB" for depth in (20, 56) for each in group(depth, [], model__shortcut=shortcut)
    ]
    made = next_round(standing(both, replace(claim(56, 20), over="mean")))
    assert len(made.cells) == 12


def test_runs_that_diverge_are_beyond_reach_only_if_the_best_case_is():
    many = [claim(56, 20), *(claim(110 + i, 20) for i in range(5))]
    results = group(20, GOOD[:3], 10) + group(56, ["diverged", *GOOD[:2]], 10)
    assert next_round(standing(results, *many)).claims[0].state == "open"
    few = group(20, GOOD[:3], 4) + group(56, ["diverged", *GOOD[:2]], 4)
    made = next_round(standing(few, *many)).claims[0]
    assert made.state == "out of reach"
    assert made.said == "nothing that the rest of 4 seeds can bring decides it"


def test_no_spread_is_no_reason_to_stop():
    made = next_round(standing(group(20, [8.0] * 3) + group(56, [8.0] * 3), claim(56, 20)))
    assert made.claims[0].state == "open" and "a look at 4 pairs comes first" in made.claims[0].said


def test_the_likeliest_per_hour_come_first_and_what_is_shared_is_paid_once():
    results = group(20, []) + group(56, []) + group(1202, [])
    prices = {f"1202/{seed}": 10.0 for seed in range(5)}
    claims = claim(1202, 20), claim(56, 20)
    assert len(next_round(standing(results, *claims, prices=prices)).cells) == 9
    made = next_round(standing(results, *claims, prices=prices, budget=36.0))
    assert len(made.cells) == 9 and made.expected == 36.0  # not 39
    made = next_round(standing(results, *claims, prices=prices, budget=34.0))
    assert made.cells == ("20/0", "20/1", "20/2", "56/0", "56/1", "56/2")  # 36 h would be the whole
    assert [step.state for step in made.claims] == ["open", "open"] and made.expected == 6.0
    made = next_round(standing(results, *claims, prices=prices, budget=32.0))
    assert made.claims[0].state == "beyond the budget"
    assert made.claims[0].said == "its next 6 cells would take 33 h, and 32 h are left"
    made = next_round(standing(results, *claims, prices=prices, budget=5.0))
    assert made.cells == () and made.end == "0 of 2 claims settled, 2 beyond the budget"


def test_the_budget_left_is_what_earlier_rounds_did_not_use():
    results = group(20, [8.0, 8.2, 8.4], 10) + group(56, [7.5, 7.9, 7.7], 10)
    used = {each.identity: 2.0 for each in results if each.state == "finished"}
    before = [replace(chosen("20/0", "56/0"), budget=8.0)]
    made = next_round(standing(results, claim(56, 20), used=used, rounds=before, budget=8.0))
    assert (made.number, made.used) == (2, 4.0)  # what others ran is not charged
    hours = next_round(standing(results, claim(56, 20))).expected
    assert bool(made.cells) == (hours <= 4.0)


def test_a_round_that_has_not_ended_is_taken_up_again():
    begun = group(20, ["killed"]) + group(56, ["running"])
    before = chosen("20/0", "56/0")
    assert next_round(standing(begun, claim(56, 20), rounds=[before])) is before
    ended = group(20, ["finished"]) + group(56, ["diverged"])
    assert next_round(standing(ended, claim(56, 20), rounds=[before])).number == 2


def test_a_failed_cell_holds_up_its_claim_until_it_is_tried_again():
    results = group(20, ["failed", *GOOD[:2]]) + group(56, GOOD[:3])
    now = standing(results, claim(56, 20), names={"20/0": "ResNet-20 seed 0"}, rounds=[chosen("20/0")])
    made = next_round(now)
    assert (made.claims[0].state, made.claims[0].said) == (
        "held up",
        "ResNet-20 seed 0 ended without a result",
    )
    assert next_round(replace(now, rounds=[])).cells == ("20/0",)  # it failed before anybody settled
    assert next_round(replace(now, retry=True)).cells == ("20/0",)
    damaged = standing(group(20, ["damaged"]) + group(56, GOOD), claim(56, 20))
    assert next_round(damaged).claims[0].state == "held up"


def test_an_end_is_no_round_and_is_replaced():
    results = group(20, BAD[:3]) + group(56, GOOD[:3])
    ended = next_round(standing(results, claim(56, 20), rounds=[chosen("20/0")]))
    assert ended.number == 2 and ended.end
    assert next_round(standing(results, claim(56, 20), rounds=[chosen("20/0"), ended])) == ended


def test_the_same_records_give_the_same_round():
    results = group(20, [9.0, 8.9, 9.4], 10) + group(56, [8.0, 8.3, 7.9], 10)
    made = [next_round(standing(results, claim(56, 20), claim(20, 56, within=1.0))) for _ in range(2)]
    assert made[0] == made[1] and made[0].cells
    assert Round.from_json(made[0].to_json()) == made[0]


@pytest.mark.parametrize(("text", "hours"), [("40h", 40.0), ("90m", 1.5), (2, 2.0), ("0.5", 0.5), (1.5, 1.5)])
def test_a_budget_is_device_hours(text, hours):
    assert math.isclose(budget_hours(text), hours)


@pytest.mark.parametrize("text", ["40 days", "", 0, -1, "-3h", True, [1], "nan", "1e400", "9" * 400])
def test_what_is_no_budget_is_one_sentence(text):
    with pytest.raises(
        ConfigError, match="^budget=.* is not an amount of device-hours; write a number above 0"
    ):
        budget_hours(text)
