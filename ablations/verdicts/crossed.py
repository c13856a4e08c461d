"""What test images add to a difference: seeds and images both vary, in a crossed design."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def mean_squares(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares of rows, of columns and of what is left, of a table with one value in each place.

    differences: of shape (rows, columns), two of each at least.
    """
    rows, columns = differences.shape
    grand = differences.mean()
    of_rows, of_columns = differences.mean(1) - grand, differences.mean(0) - grand
    row_squares, column_squares = columns * float((of_rows**2).sum()), rows * float((of_columns**2).sum())
    rest = max(float(((differences - grand) ** 2).sum()) - row_squares - column_squares, 0.0)
    return row_squares / (rows - 1), column_squares / (columns - 1), rest / ((rows - 1) * (columns - 1))


def image_error(differences: NDArray[np.float64]) -> float:
    """Standard error, in points, that a mean difference has because its images are a sample; to be added to that of its
    seeds, which holds their interaction with the images already.

    differences: of shape (pairs, images), what each image adds to the difference of each pair. Two-way random effects
    without replication: the variance is (columns - rest) / (pairs x images), in mean squares; 0 with one pair.
    """
    pairs, images = differences.shape
    if pairs < 2:
        return 0.0
    _, by_image, rest = mean_squares(differences)
    return math.sqrt(max(by_image - rest, 0.0) / (pairs * images))


def hidden_spread(differences: NDArray[np.float64]) -> float:
    """Standard deviation over seeds, in points, where all pairs differ by the same amount: what the single images that
    change from seed to seed would make of it. NaN with one pair."""
    if len(differences) < 2:
        return math.nan
    return math.sqrt(mean_squares(differences)[2] / differences.shape[1])
