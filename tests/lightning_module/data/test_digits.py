"""The digits, read from scikit-learn's file without it."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from lightning_module.data import digits


def test_they_are_what_scikit_learn_gives():
    for ours, theirs in zip(digits.read(), load_digits(return_X_y=True), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
