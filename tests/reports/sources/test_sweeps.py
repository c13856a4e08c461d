"""What runs on W&B say of their sweeps, edited by hand."""

from __future__ import annotations

from typing import Any

import pytest

from reports.sources._sweeps import declared


@pytest.mark.parametrize("time", [10**400, -(10**400), float("nan"), float("inf"), "now", None, [1]])
def test_a_time_that_is_none_is_passed_over_and_the_others_count(time: Any) -> None:
    runs = [{"depth": {"declared": moment, "cells": 4, "manifest": "x"}} for moment in (time, 5.0)]
    (sweep,) = declared(runs)
    assert (sweep.name, sweep.time, sweep.cells) == ("depth", 5.0, 4)
