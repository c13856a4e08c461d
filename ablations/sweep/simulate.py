"""What a study that settles its claims would probably cost, before it costs anything: studies drawn from the papers.

Each cell's error is drawn around the number that a paper printed for it, with the deviation that it printed, or a usual
one; rounds are made of these as they are made of records. Nothing random decides: the draws are fixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ablations.study import Published, Study
from ablations.sweep.rounds import Round, Standing, next_round
from ablations.sweep.show import hours
from ablations.verdicts.judge import WORDS, judge_claims
from ablations.verdicts.pairs import select
from ablations.verdicts.results import Result
from ablations.words import setting
from lightning_module.support.errors import ConfigError
from lightning_module.support.text import aligned

STUDIES = 100

USUAL_SD = 0.16
"""Standard deviation between seeds, in points, where a paper prints none: ResNet-110's (arXiv:1512.03385, Table 6)."""

PREFERRED = ("mean", "median", "reported", "single", "best")
"""Which of several numbers of a cell stands for its mean."""


@dataclass(frozen=True)
class Simulation:
    """hours, rounds: of each study. words: of each study, those of its claims; all_words: with all seeds.

    whole: device-hours of all seeds. notes: what was assumed where a paper prints no number.
    """

    claims: Sequence[str]
    hours: Sequence[float]
    rounds: Sequence[int]
    words: Sequence[Sequence[str]]
    all_words: Sequence[Sequence[str]]
    whole: float
    notes: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """The simulation for a program: hours of a device, shares of the studies."""
        columns, full = (list(zip(*words, strict=True)) for words in (self.words, self.all_words))
        return {
            "studies": len(self.hours),
            "all_device_hours": self.whole,
            "device_hours": _spread(self.hours),
            "rounds": _spread(self.rounds),
            "claims": [
                {
                    "claim": claim,
                    "words": {word: count / len(of) for word, count in Counter(of).items()},
                    "as_with_all_seeds": float(np.mean([a == b for a, b in zip(of, whole, strict=True)])),
                }
                for claim, of, whole in zip(self.claims, columns, full, strict=True)
            ],
            "notes": list(self.notes),
        }


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {
        "mean": float(np.mean(values)),
        "lower_quartile": float(low),
        "median": float(middle),
        "upper_quartile": float(high),
    }


def simulate(now: Standing, study: Study, sd: float = USUAL_SD, studies: int = STUDIES) -> Simulation:
    """Draw so many studies and settle each; nothing that ran before counts.

    now: the cells and prices. sd: between seeds, in points, where a paper prints none. ConfigError without a printed
    number for any claim.
    """
    empty = [replace(each, state="planned", metrics={}, events=()) for each in now.results]
    means, notes = _means(empty, now.studied, study, sd)
    every = []
    for number in range(studies):
        rng = np.random.default_rng(number)
        drawn = {metric: rng.normal(mean, deviation) for metric, (mean, deviation) in means.items()}
        every.append(
            [
                replace(
                    each, state="finished", metrics={metric: float(of[index]) for metric, of in drawn.items()}
                )
                for index, each in enumerate(empty)
            ]
        )
    ends = [_settled(replace(now, results=empty, used={}, rounds=(), retry=False), whole) for whole in every]
    return Simulation(
        [claim.sentence for claim in now.claims],
        [end.used for end in ends],
        [end.number - 1 for end in ends],
        [[step.word for step in end.claims] for end in ends],
        [[verdict.word for verdict in judge_claims(whole, now.studied, now.claims)] for whole in every],
        sum(now.prices[each.identity] for each in empty),
        notes,
    )


def _settled(now: Standing, whole: Sequence[Result]) -> Round:
    """The end of a study whose runs would come out like this."""
    outcome = {each.identity: each for each in whole}
    while not (made := next_round(now)).end:
        results = [outcome[each.identity] if each.identity in made.cells else each for each in now.results]
        used = {**now.used, **{name: now.prices[name] for name in made.cells}}
        now = replace(now, results=results, used=used, rounds=(*now.rounds, made))
    return made


Drawn = tuple[list[float], list[float]]
"""Mean and standard deviation of each cell."""


def _means(
    cells: Sequence[Result], studied: Sequence[str], study: Study, sd: float
) -> tuple[dict[str, Drawn], list[str]]:
    """Metric of a claim -> what its values are drawn from, and what was assumed."""
    metrics = dict.fromkeys(claim.metric for claim in study.claims)
    if not any(each.metric in metrics for each in study.published):
        raise ConfigError(
            f"--simulate draws from numbers that a paper printed, and this study has none of {' or '.join(metrics)}; "
            "leave it out to see the next round"
        )
    keys = [
        key for key in studied if key != "seed" and len({repr(each.levels.get(key)) for each in cells}) > 1
    ]
    drawn: dict[str, Drawn] = {}
    notes: dict[str, None] = {}
    for metric in metrics:
        printed = sorted(
            (each for each in study.published if each.metric == metric),
            key=lambda p: PREFERRED.index(p.statistic),
        )
        known = [next((p for p in printed if select([cell], p.levels)), None) for cell in cells]
        if not any(known):
            notes[f"no number is printed of {metric}: all cells are taken as alike"] = None
        means, deviations = [], []
        for cell, own in zip(cells, known, strict=True):
            taken = own
            if own is None and any(known):
                near = min(
                    (index for index, p in enumerate(known) if p),
                    key=lambda index: _distance(cell.levels, cells[index].levels, keys),
                )
                taken = known[near]
                here, there = (_at(levels, keys) for levels in (cell.levels, cells[near].levels))
                notes[f"no number is printed of {metric} at {here}: that at {there} is taken"] = None
            if taken is not None and taken.bound:
                side = "twice" if taken.bound == "above" else "half of"
                notes[
                    f"of {metric} at {_at(taken.levels, taken.levels)} a limit is printed: {side} it is taken"
                ] = None
            means.append(_mean(taken))
            deviations.append(sd if taken is None or taken.std is None else taken.std)
        drawn[metric] = means, deviations
    return drawn, list(notes)


def _mean(printed: Published | None) -> float:
    if printed is None:
        return 0.0
    return printed.value * {"above": 2.0, "below": 0.5, "": 1.0}[printed.bound]


def _distance(a: Mapping[str, Any], b: Mapping[str, Any], keys: Iterable[str]) -> tuple[int, float]:
    """How many levels differ, and by how much those that are numbers do."""
    differing = [(a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]
    return len(differing), sum(
        abs(x - y) for x, y in differing if isinstance(x, int | float) and isinstance(y, int | float)
    )


def _at(levels: Mapping[str, Any], keys: Iterable[str]) -> str:
    return ", ".join(setting(key, levels[key]) for key in keys if key in levels) or "all cells"


def text(made: Simulation, unit: str) -> str:
    """The simulation for a reader. unit: of the hours, "GPU" or "CPU"."""
    told = made.to_json()
    cost, rounds = told["device_hours"], told["rounds"]
    share = f"{100 * cost['mean'] / made.whole:.0f} %" if made.whole else "all"
    lines = [
        f"{told['studies']} studies drawn from the papers' numbers",
        f"{unit} time: {hours(cost['mean'])} expected ({hours(cost['lower_quartile'])} to "
        f"{hours(cost['upper_quartile'])} in half of them), {share} of the {hours(made.whole)} of all seeds; "
        f"{rounds['mean']:.1f} rounds",
        "",
    ]
    words = [word for word in WORDS if any(word in each["words"] for each in told["claims"])]
    rows = [("claim", *words, "as with all seeds")]
    for each in told["claims"]:
        shares = [f"{100 * each['words'].get(word, 0.0):.0f} %" for word in words]
        rows.append((each["claim"], *shares, f"{100 * each['as_with_all_seeds']:.0f} %"))
    return "\n".join([*lines, *aligned(rows, right=set(range(1, len(words) + 2))), "", *made.notes])
