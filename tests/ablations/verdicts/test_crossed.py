"""Differences on new images: the variance of a mean over seeds and images that are both drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablations.verdicts.crossed import hidden_spread, image_error, mean_squares
from ablations.verdicts.pairs import on_new_images
from ablations.verdicts.statistics import at_level, estimate, lower_p, upper_p

RANDOM = np.random.default_rng(20161)


def test_mean_squares_are_those_of_the_textbook() -> None:
    """Montgomery's sums of squares, each computed from its own definition."""
    x = RANDOM.normal(0, 1, (4, 7)) + RANDOM.normal(0, 2, (4, 1))
    grand, rows, columns = x.mean(), x.mean(1, keepdims=True), x.mean(0, keepdims=True)
    expected = (
        7 * ((rows - grand) ** 2).sum() / 3,
        4 * ((columns - grand) ** 2).sum() / 6,
        ((x - rows - columns + grand) ** 2).sum() / 18,
    )
    assert mean_squares(x) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seed", "image", "rest"), [(0.0, 3.0, 10.0), (0.5, 3.0, 10.0), (2.0, 3.0, 10.0), (0.5, 20.0, 5.0)]
)
@pytest.mark.parametrize("pairs", [3, 5, 10])
def test_interval_covers_the_difference_on_all_images(
    seed: float, image: float, rest: float, pairs: int
) -> None:
    """2,000 sets of 200 images; as it is printed, it holds that on the same images, which covers less where images
    differ."""
    tries, images = 2000, 200
    inside = on_these = 0
    for _ in range(tries):
        x = (
            0.3
            + RANDOM.normal(0, seed, (pairs, 1))
            + RANDOM.normal(0, image, (1, images))
            + RANDOM.normal(0, rest, (pairs, images))
        )
        fixed = estimate(list(x.mean(1)))
        e = on_new_images(fixed, x)
        inside += e.low <= 0.3 <= e.high
        on_these += fixed.low <= 0.3 <= fixed.high
    print(
        f"{pairs} pairs, sd {seed}/{image}/{rest}: {inside / tries:.3f} (these images: {on_these / tries:.3f})"
    )
    assert inside / tries >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / tries)
    if image == 20:
        assert on_these / tries < 0.85


@pytest.mark.parametrize("level", [0.95, 0.993, 0.9995])
@pytest.mark.parametrize("pairs", [3, 5])
def test_it_holds_at_the_levels_of_a_family_too(level: float, pairs: int) -> None:
    """Where a single number of degrees of freedom for both parts misses several times too often."""
    tries, missed, narrower = 4000, 0, 0
    for _ in range(tries):
        x = (
            RANDOM.normal(0, 0.7, (pairs, 1))
            + RANDOM.normal(0, 8, (1, 100))
            + RANDOM.normal(0, 8, (pairs, 100))
        )
        fixed = at_level(estimate(list(x.mean(1))), level)
        e = at_level(on_new_images(fixed, x), level)
        missed += not e.low <= 0 <= e.high
        narrower += e.low > fixed.low
    print(f"{pairs} pairs at {level}: missed {missed / tries:.4f}")
    rate = 1 - level
    assert missed / tries <= rate + 4 * math.sqrt(rate * level / tries)
    assert not narrower


@pytest.mark.parametrize("margin", [-1.0, 0.2, 0.9, 3.0])
def test_p_values_are_those_of_the_interval(margin: float) -> None:
    """An interval at 1 - 2p ends at the margin."""
    x = RANDOM.normal(0, 0.7, (5, 1)) + RANDOM.normal(0.3, 8, (1, 200)) + RANDOM.normal(0, 8, (5, 200))
    e = on_new_images(estimate(list(x.mean(1))), x)
    p = min(upper_p(e, margin), lower_p(e, margin))
    judged = at_level(e, 1 - 2 * p)
    assert min(abs(judged.low - margin), abs(judged.high - margin)) < 1e-6
    assert upper_p(e, margin) + lower_p(e, margin) == pytest.approx(1)


def test_one_pair_says_nothing_of_new_seeds() -> None:
    x = RANDOM.choice([-100.0, 0.0, 0.0, 0.0, 100.0], (1, 355))
    assert on_new_images(estimate(list(x.mean(1))), x).n == 0
    assert image_error(x) == 0
    assert math.isnan(hidden_spread(x))


def test_equal_errors_of_different_images_have_a_spread() -> None:
    """Two seeds that miss as many images, but others: the errors agree by chance."""
    x = np.zeros((2, 100))
    x[0, :5] = x[1, 5:10] = 100
    assert estimate(list(x.mean(1))).sd == 0
    assert hidden_spread(x) == pytest.approx(math.sqrt(mean_squares(x)[2] / 100))
    assert hidden_spread(x) > 1
    assert hidden_spread(np.tile(x[0], (3, 1))) == 0


def test_identical_networks_on_all_seeds() -> None:
    e = on_new_images(estimate([0.0, 0.0, 0.0]), np.zeros((3, 50)))
    assert e.mean == 0
    assert math.isnan(e.low)
