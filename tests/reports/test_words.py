"""Texts for people: one rule each for names, units and numbers."""

from __future__ import annotations

import math

import pytest

from ablations.study import METRICS
from ablations.verdicts.statistics import Estimate, estimate
from ablations.words import level_name, network_text, setting, value_text
from reports import words


@pytest.mark.parametrize("metric", [*METRICS, "layer_response/rank 3", "nobody/knows_it"])
def test_a_name_and_a_unit_make_the_text_of_a_metric(metric: str) -> None:
    unit = f",{words.unit(metric)}" if words.unit(metric) else ""
    assert words.metric_name(metric) + unit == words.metric_text(metric)


def test_errors_are_in_percent_and_nothing_else_is() -> None:
    assert {metric for metric in METRICS if words.unit(metric) == " %"} == {
        metric for metric in METRICS if metric.endswith("error")
    }
    assert words.unit("layer_response/mean") == words.unit("images_per_second") == ""


def test_a_further_key_is_named_only_where_it_tells_levels_apart_that_begin_alike() -> None:
    levels = [("gating", "A", -3), ("gating", "A", -6), ("identity", "C", 0), ("identity", "A", 0)]
    keys = ("model.type", "model.shortcut", "model.gate_bias")
    assert list(words.distinct_texts(levels, keys).values()) == [
        "gating, bias −3", "gating, bias −6", "identity, option C", "identity, option A"
    ]  # fmt: skip
    assert words.distinct_texts([("gating", "A", -3)], keys) == {("gating", "A", -3): "gating"}
    assert words.distinct_texts([()], ()) == {(): ""}


def test_levels_of_one_name_are_called_as_they_are_typed() -> None:
    texts = words.distinct_texts([("none",), (None,), ("my_level",), ("my level",), ("b",)], ("model.key",))
    assert list(texts.values()) == [
        "model.key=none", "model.key=null", "model.key=my_level", "model.key=my level", "b"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "yes"), (0.10, "0.1"), ((82, 123), "[82, 123]"), ([], "[]"), ("A", "A")],
)
def test_configuration_values(value: object, text: str) -> None:
    assert value_text(value) == text


def test_what_no_table_knows_reads_well_too() -> None:
    assert level_name("model.my_mode", "very_wide") == "very wide"
    assert level_name("data.root", "my_data/set_a.npz") == "my_data/set_a.npz"
    assert setting("model.my_flag", True) == "my flag yes"
    assert setting("model.gate_bias", -6) == "bias −6"
    assert setting("model.zero_init_last_bn", 1) == "last BN 1"  # a number that equals True is another level
    assert network_text("MyNet(4, 4)") == "MyNet(4, 4)"
    assert network_text("DenseNet-BC-100 (k=12)") == "DenseNet-BC-100, k = 12"
    assert network_text("ResNeXt-29 8x64d (residual_dropout=0.3)") == "ResNeXt-29 8×64d, residual dropout 0.3"


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(-0.5, 2, "−0.50"), (-0.001, 2, "0.00"), (12345.6, None, "12,346"), (math.nan, 2, "–")],
)
def test_numbers(value: float, decimals: int | None, text: str) -> None:
    assert words.number(value, decimals) == text


def test_estimates() -> None:
    assert words.spread(estimate([1.0, 2.0, 3.0], diverged=1, planned=5), 1) == "2.0 ± 1.0‡†"
    assert words.spread(Estimate(0, math.nan, diverged=2), 1) == "diverged ×2"
    assert words.interval(estimate([1.0]), 1) == "–"


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [(7200, ("hours", 3600)), (7199, ("minutes", 60)), (119, ("seconds", 1)), (math.nan, ("seconds", 1))],
)
def test_times_are_given_in_a_unit_of_which_they_hold_two(seconds: float, unit: tuple[str, int]) -> None:
    assert words.time_unit(seconds) == unit


def test_lists() -> None:
    assert [words.listed("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
