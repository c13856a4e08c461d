"""What settling promises, by simulation of whole studies: fixed seeds, printed rates (`pytest -s`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ablations.study import Claim
from ablations.sweep.rounds import Standing, next_round
from ablations.verdicts.judge import judge_claims
from ablations.verdicts.results import Result

KEY, STUDIES, SEEDS = "model.depth", 150, 8
EFFECTS = {20: 0.0, 32: 0.0, 44: -2.0, 56: -6.0, 110: -12.0}
"""Difference from depth 20 in standard deviations of a seed: none, some that need all seeds or more, one for all to
see."""

CLAIMS = [
    *(Claim(f"{depth}", {KEY: depth}, {KEY: 20}, below=0) for depth in EFFECTS if depth != 20),
    Claim("as good", {KEY: 32}, {KEY: 20}, within=3),
]
ERRORS: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    "normal": lambda rng: rng.normal(0, 1, SEEDS),
    "skewed": lambda rng: rng.exponential(1, SEEDS) - 1,
    "one bad seed in ten": lambda rng: rng.normal(0, 1, SEEDS) + 8 * (rng.random(SEEDS) < 0.1),
}


def study(kind: str, number: int) -> list[Result]:
    rng = np.random.default_rng([number, list(ERRORS).index(kind)])
    return [
        Result(
            f"{depth}/{seed}",
            {KEY: depth, "seed": seed},
            "finished",
            {"test/error": 50 + effect + float(error)},
        )
        for depth, effect in EFFECTS.items()
        for seed, error in enumerate(ERRORS[kind](rng))
    ]


@pytest.mark.parametrize("kind", ERRORS)
def test_settling_says_what_all_seeds_would_have_said_for_less(kind):
    decided = futile = same = claims = hours = 0
    for number in range(STUDIES):
        whole = study(kind, number)
        outcome = {each.identity: each for each in whole}
        results = [Result(each.identity, each.levels) for each in whole]
        now = Standing(CLAIMS, results, (KEY, "seed"), dict.fromkeys(outcome, 1.0))
        while not (made := next_round(now)).end:
            results = [
                outcome[each.identity] if each.identity in made.cells else each for each in now.results
            ]
            now = Standing(CLAIMS, results, now.studied, now.prices, rounds=(*now.rounds, made))
        hours += sum(each.state == "finished" for each in now.results)
        for step, verdict in zip(made.claims, judge_claims(whole, (KEY, "seed"), CLAIMS), strict=True):
            claims += 1
            same += step.word == verdict.word
            decided += verdict.word != "undecided"
            futile += verdict.word != "undecided" and step.state == "out of reach"
    cost = hours / (STUDIES * SEEDS * len(EFFECTS))
    print(
        f"\n{kind}: stopped as futile {futile / decided:.3f} of what all seeds decide; "
        f"the same word in {same / claims:.3f}; {cost:.3f} of the hours"
    )
    assert futile / decided <= 0.1
    assert same / claims >= 0.9
    assert cost <= 0.95
