"""A difference on new images of the kind: seeds and test images both vary (a crossed design)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ablations.verdicts.statistics import LEVEL, Estimate, at_level


def mean_squares(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares of rows, columns and what is left, of a table with one value in each place; NaN where there is one
    row."""
    rows, columns = differences.shape
    grand = differences.mean()
    of_rows, of_columns = differences.mean(1) - grand, differences.mean(0) - grand
    rest = ((differences - grand) ** 2).sum() - columns * (of_rows**2).sum() - rows * (of_columns**2).sum()
    by_column = rows * float((of_columns**2).sum()) / (columns - 1)
    if rows == 1:
        return math.nan, by_column, math.nan
    by_row = columns * float((of_rows**2).sum()) / (rows - 1)
    return by_row, by_column, max(float(rest), 0.0) / ((rows - 1) * (columns - 1))


def on_new_images(differences: NDArray[np.float64]) -> Estimate:
    """Mean difference, in points, with its interval over new seeds and new images.

    differences: of shape (pairs, images), -100, 0 or 100: what each image adds to the difference of each pair. Two-way
    random effects without replication: the variance of the mean is (rows + columns - rest) / (pairs x images) in
    mean squares, with Satterthwaite's degrees of freedom; never less than seeds or images alone make it. With one pair
    it is that of these two networks on new images.
    """
    pairs, images = differences.shape
    rows, columns, rest = mean_squares(differences)
    if pairs == 1:
        total, df = columns, images - 1.0
    else:
        total = max(rows + columns - rest, rows, columns)
        parts = rows**2 / (pairs - 1) + columns**2 / (images - 1) + rest**2 / ((pairs - 1) * (images - 1))
        df = total**2 / parts if parts else math.nan
    sd = math.sqrt(total / images)  # so that sd / sqrt(pairs) is the standard error
    return at_level(Estimate(pairs, float(differences.mean()), sd, df=df), LEVEL)


def hidden_spread(differences: NDArray[np.float64]) -> float:
    """Standard deviation over seeds, in points, where all pairs differ by the same amount: what the single images that
    change from seed to seed would make of it. NaN with one pair."""
    _, _, rest = mean_squares(differences)
    return math.sqrt(rest / differences.shape[1]) if not math.isnan(rest) else math.nan
