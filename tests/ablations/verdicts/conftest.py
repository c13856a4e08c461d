"""Simulations draw the same numbers whichever tests ran before them, and in whichever process."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _the_same_numbers(request: pytest.FixtureRequest) -> None:
    if random := getattr(request.module, "RANDOM", None):
        random.bit_generator.state = np.random.default_rng(20160).bit_generator.state
