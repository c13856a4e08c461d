"""What it costs to be allowed to look at any time: power and pairs used, of several ways to share out a level.

    python benchmarks/looks.py

For each number of planned pairs: the effect that one t test at 5 %, made at the end, shows in 80 % of studies, and two
larger ones, in standard deviations of a pair. "once": that test. "looks": ours (ablations/verdicts/looks.py). "equal":
the same level shared equally over all looks. "sequence": a confidence sequence for t, by mixing effect sizes over a
normal prior (arXiv:2310.03722), its width chosen as the best of five for these planned pairs. Printed: how often the
effect is shown by the last look, and the mean number of pairs at which it is first shown (the planned ones where it is
not). Under no effect the first column is the rate of false findings at any look.

A test that is made sequential without loss (Koning and van Meer, arXiv:2501.03982) is "once" in both columns: it
rejects early only where the last look is certain to, which no continuous value ever makes it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablations.verdicts import power
from ablations.verdicts.looks import FIRST, share
from ablations.verdicts.statistics import LEVEL

STUDIES = 40_000
PLANNED = (5, 6, 8, 10, 20)
ALPHA = 1 - LEVEL
WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Standard deviations of the prior of effects, in standard deviations of a pair."""

Array = NDArray[np.float64]


def t_values(effect: float, planned: int, random: np.random.Generator) -> Array:
    """[studies, looks]: Student's t of the first k pairs, k = FIRST, ..., planned."""
    x = random.normal(effect, 1, (STUDIES, planned))
    k = np.arange(1, planned + 1)
    mean = x.cumsum(1) / k
    variance = ((x**2).cumsum(1) - k * mean**2)[:, FIRST - 1 :] / (k - 1)[FIRST - 1 :]
    return mean[:, FIRST - 1 :] / np.sqrt(variance / k[FIRST - 1 :])


def shared(t: Array, shares: Array) -> NDArray[np.bool_]:
    """Whether each look rejects at its share of the level, both sides."""
    df = np.arange(FIRST, FIRST + t.shape[1]) - 1
    return 2 * special.stdtr(df, -abs(t)) <= ALPHA * shares


def sequence(t: Array, width: float) -> NDArray[np.bool_]:
    """Whether the confidence sequence excludes no effect at each look: its Bayes factor is 1 / ALPHA or more."""
    k = np.arange(FIRST, FIRST + t.shape[1])
    shrink = 1 / (1 + k * width**2)
    odds = np.sqrt(shrink) * ((1 + t**2 / (k - 1)) / (1 + shrink * t**2 / (k - 1))) ** (k / 2)
    return np.asarray(odds >= 1 / ALPHA)


def told(rejects: NDArray[np.bool_], planned: int) -> tuple[float, float]:
    """Share of studies that reject at any look, and mean pairs at the first that does."""
    ever = rejects.any(1)
    first = np.where(ever, FIRST + rejects.argmax(1), planned)
    return float(ever.mean()), float(first.mean())


def main() -> None:
    """Print the table."""
    random = np.random.default_rng(20251)
    print(f"{'pairs':>5} {'effect':>6}  {'once':>12} {'looks':>12} {'equal':>12} {'sequence':>12}")
    for planned in PLANNED:
        looks = range(FIRST, planned + 1)
        ours = np.array([share(k, planned) for k in looks])
        equal = np.full(len(looks), 1 / len(looks))
        last = np.zeros(len(looks))
        last[-1] = 1
        target = power.resolvable(1.0, planned)
        t = t_values(target, planned, random)
        width = max(WIDTHS, key=lambda one: told(sequence(t, one), planned)[0])
        for effect in (0.0, target, 3.0, 6.0):
            t = t_values(effect, planned, random)
            ways = shared(t, last), shared(t, ours), shared(t, equal), sequence(t, width)
            columns = " ".join(
                f"{rate:6.3f} {pairs:5.2f}" for rate, pairs in (told(way, planned) for way in ways)
            )
            print(f"{planned:5d} {effect:6.2f}  {columns}")
    assert math.isclose(ours.sum(), 1)


if __name__ == "__main__":
    main()
