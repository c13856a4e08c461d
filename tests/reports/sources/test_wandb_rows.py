"""Each run of W&B by itself: ours, foreign or damaged, whatever was put there; never an exception."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from frames_schema import checked
from hypothesis import given, settings
from hypothesis import strategies as st
from wandb_worker import make_cell, metrics

from lightning_module.tracking.wandb_run import run_config
from lightning_module.tracking.wandb_server import run_ids
from reports.sources._frames import ParsedRun, frames
from reports.sources._wandb_rows import config_values, decoded, parsed_run

CELL = make_cell(1)
ATTEMPT = {"attempt": 1, "step": 0, "time": 5.0, "commit": "0" * 40, "versions": {"torch": "2.13.0"}}
CONFIG = json.loads(json.dumps(run_config(CELL, ATTEMPT, {})))
ROWS = [
    {"epoch": epoch, "step": 10 * epoch, "_timestamp": 9.0, **metrics(1, epoch, 1)} for epoch in (1, 2, 3)
]
EVENTS = [{"event": "layer_responses", "step": 30, "responses": [["stem", 1.25]]}]
SUMMARY = {**ROWS[-1], "status": "finished", "events": EVENTS}


def changed(tree: Any, place: tuple[str, ...], value: Any) -> Any:
    """A copy with another value at this place."""
    if not place:
        return value
    tree = copy.deepcopy(tree)
    branch = tree
    for key in place[:-1]:
        branch = branch[key]
    branch[place[-1]] = value
    return tree


def parsed(config: Any = CONFIG, summary: Any = SUMMARY, rows: Any = ROWS, run_id: str = "") -> ParsedRun:
    """The run, which has to fit into frames and a cache whatever it is."""
    run = parsed_run(run_id or CELL.identity, config, summary, copy.deepcopy(rows))
    if not run.foreign:
        checked(frames(Path("nowhere"), {CELL.identity: run}))
    json.dumps({**vars(run), "rows": None}).encode()
    return run


def test_a_run_of_ours_is_parsed() -> None:
    run = parsed()
    assert (run.foreign, run.damage, run.status) == (False, "", {"status": "finished"})
    assert (run.cell["name"], run.cell["config"]["model.depth"]) == (CELL.name, 20)
    assert (run.rows.shape, run.events) == ((3, 8), EVENTS)
    assert run.summary == {}


@pytest.mark.parametrize("run_id", [f"{CELL.identity}-2", f"{CELL.identity}-4"])
def test_a_run_that_was_pushed_again_under_another_id_is_ours(run_id: str) -> None:
    assert parsed(run_id=run_id).cell["identity"] == CELL.identity
    assert run_id in run_ids(CELL.identity)


FOREIGN: dict[str, tuple[tuple[str, ...], Any]] = {
    "no cell": ((), {"lr": 1}),
    "cell is a text": (("cell",), "lstm"),
    "cell is None": (("cell",), None),
    "cell is a list": (("cell",), [1]),
    "a cell of another kind": (("cell",), {"units": 128}),
    "another schema": (("cell", "schema"), 99),
    "a schema that is true": (("cell", "schema"), True),
    "another identity": (("cell", "identity"), "0" * 12),
    "an identity that is a number": (("cell", "identity"), 5),
    "an identity that is a list": (("cell", "identity"), []),
    "a configuration that is a list": ((), [1]),
    "a configuration that is a number": ((), 5),
    "a configuration that is no JSON": ((), "{nonsense"),
}


@pytest.mark.parametrize(("place", "value"), FOREIGN.values(), ids=FOREIGN.keys())
def test_somebody_elses_run_is_foreign_and_not_looked_at_further(place: tuple[str, ...], value: Any) -> None:
    summary = {"epoch": {"max": 5}, "events": 5}
    assert parsed(changed(CONFIG, place, value), summary, [5, None]).foreign


@pytest.mark.parametrize(
    "run_id", ["copy", f"{CELL.identity}-1", f"{CELL.identity}-x", f"{CELL.identity}-02"]
)
def test_a_copy_of_our_configuration_under_another_id_is_foreign(run_id: str) -> None:
    assert parsed(run_id=run_id).foreign


DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]
CONFIGS: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "attempt is a number": (("attempt",), 3, "its attempt is 3"),
    "attempt number": (("attempt", "attempt"), "first", 'its attempt is "first"'),
    "attempt step": (("attempt", "step"), "0", 'its step is "0"'),
    "attempt time": (("attempt", "time"), [1], "its time is a list"),
    "commit": (("attempt", "commit"), {}, "its commit is {}"),
    "deep": (("attempt", "more"), DEEP, "its attempt is nested too deeply"),
    "name": (("cell", "name"), 5, "its name is 5"),
    "parameters": (("cell", "parameters"), "many", 'its parameters is "many"'),
    "overrides": (("cell", "overrides"), "a=b", 'its overrides is "a=b"'),
    "model": (("model",), "lstm", 'its model is "lstm"'),
    "trainer": (("trainer",), None, "its trainer is null"),
    "seed": (("seed",), "one", 'its config has seed="one"'),
    "depth": (("model", "depth"), [20], "its config has model.depth=a list"),
    "huge": (("recipe", "learning_rate"), 10**400, "its config has recipe.learning_rate=1000"),
    "NaN": (("recipe", "learning_rate"), float("nan"), "its config has recipe.learning_rate=NaN"),
    "a list of mappings": (("recipe", "drops"), [{}], "its config has recipe.drops=a list"),
}


@pytest.mark.parametrize(("place", "value", "sentence"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_configuration_of_ours_that_was_edited_is_damaged(
    place: tuple[str, ...], value: Any, sentence: str
) -> None:
    run = parsed(changed(CONFIG, place, value))
    assert f"what W&B holds of it is damaged: {sentence}" in run.damage
    assert run.cell["identity"] == CELL.identity


SUMMARIES: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "a list": ((), [1], "its summary is a list"),
    "no JSON": ((), "{nonsense", 'its summary is "{nonsense"'),
    "epoch is a mapping": (("epoch",), {"max": 3}, "its summary has epoch=a mapping"),
    "epoch is a list": (("epoch",), [3], "its summary has epoch=a list"),
    "epoch is NaN": (("epoch",), float("nan"), "its summary has epoch=NaN"),
    "step is a text": (("step",), "30", 'its summary has step="30"'),
    "a huge step": (("step",), 10**400, "its summary has step=1000"),
    "time": (("_timestamp",), "now", 'its summary has _timestamp="now"'),
    "events are a mapping": (("events",), {}, "its events are no list of mappings"),
    "events are texts": (("events",), ["wandb"], "its events are no list of mappings"),
    "an event without a name": (("events",), [{}], "it names no event"),
    "an event of another kind": (("events",), [{"event": "epoch"}], "its epoch is missing"),
    "responses": (("events",), [EVENTS[0] | {"responses": [5]}], "its responses is a list"),
    "deep events": (("events",), [{"event": "x", "more": DEEP}], "its events is nested too deeply"),
    "status is a number": (("status",), 5, "its status is 5"),
    "status is a list": (("status",), [], "its status is []"),
    "another status": (("status",), "fine", 'its status is "fine"'),
    "reason": (("reason",), {"a": 1}, "its reason is a mapping"),
}


@pytest.mark.parametrize(("place", "value", "sentence"), SUMMARIES.values(), ids=SUMMARIES.keys())
def test_a_summary_of_ours_that_was_edited_is_damaged(
    place: tuple[str, ...], value: Any, sentence: str
) -> None:
    assert (
        f"what W&B holds of it is damaged: {sentence}"
        in parsed(summary=changed(SUMMARY, place, value)).damage
    )


def test_a_metric_in_a_summary_that_is_a_mapping_is_a_difference() -> None:
    """`define_metric("test/error", summary="min")` of somebody makes it one; the history is whole."""
    run = parsed(summary=SUMMARY | {"test/error": {"min": 1.0}})
    assert (run.damage, run.summary) == ("", {"test/error": None})
    assert run.rows.shape == (3, 8)
    assert (
        "its history or summary is nested too deeply" in parsed(summary=SUMMARY | {"x": {"y": DEEP}}).damage
    )


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (5, "a row of its history is 5"),
        ("{nonsense", 'a row of its history is "{nonsense"'),
        ({"epoch": [1]}, "a row of its history has epoch=a list"),
        ({"epoch": 4, "step": "40"}, 'a row of its history has step="40"'),
        ({"epoch": -1}, "a row of its history has epoch=-1"),
        ({"epoch": 4, "_timestamp": None}, "a row of its history has _timestamp=null"),
    ],
)
def test_a_row_that_is_none_is_damage(row: Any, sentence: str) -> None:
    assert sentence in parsed(rows=[*ROWS, row]).damage


def test_values_that_are_no_numbers_are_left_out() -> None:
    odd = {
        "epoch": 4,
        "step": 40,
        "identity": 5,
        "text": "a",
        "image": {"path": "x"},
        "huge": 10**400,
        "list": [1],
    }
    run = parsed(rows=[*ROWS, odd])
    assert run.damage == ""
    assert not {"identity", "text", "image", "huge", "list"} & {*run.names}


def test_nested_numbers_keep_their_path() -> None:
    """As a server gives them; one of `val` is no second epoch."""
    val = {"val": {"epoch": 7, "loss": {"mean": 0.5}}, "image": {"_type": "image-file", "width": 5}}
    run = parsed(summary=SUMMARY | val, rows=[row | val for row in ROWS])
    assert (run.damage, run.summary) == ("", {})
    last = dict(zip(run.names, run.rows[-1].tolist(), strict=True))
    assert (last["epoch"], last["val.epoch"], last["val.loss.mean"]) == (3, 7, 0.5)
    assert not any(name == "image" or name.startswith("image.") for name in run.names)
    assert "nested too deeply" in parsed(rows=[*ROWS, {"epoch": 4, "x": {"y": DEEP}}]).damage


def test_a_configuration_value_that_is_bare_is_damage_and_the_packages_own_is_not() -> None:
    whole = {key: {"value": value} for key, value in CONFIG.items()}
    assert parsed(config_values(whole | {"wandb_version": 1, "_wandb": 5})).damage == ""
    assert (
        "its config has model without a value"
        in parsed(config_values(whole | {"model": {"depth": 1}})).damage
    )
    assert parsed(config_values(whole | {"cell": CONFIG["cell"]})).foreign
    assert parsed(config_values(decoded('{"lr": 1}'))).foreign


def test_keys_beside_ours_are_no_configuration_of_the_cell() -> None:
    run = parsed(CONFIG | {"name": "mine", "identity": 5, "sweeps": {"depth": {"cells": 2}}})
    assert (run.damage, run.cell["config"]) == ("", parsed().cell["config"])


def test_half_a_character_can_be_kept_in_a_file() -> None:
    text = json.dumps(changed(CONFIG, ("cell", "name"), "ResNet"))
    run = parsed(decoded(text.replace("ResNet", r"\udc80")))
    assert run.cell["name"].encode() == rb"\udc80"


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "{", "", "nonsense", "\ud800"])
def test_what_is_no_json_comes_back_as_it_is(text: str) -> None:
    assert decoded(text) == (text or {})


def leaves(tree: Any, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every place in nested mappings."""
    below = [leaves(value, (*place, key)) for key, value in tree.items()] if isinstance(tree, dict) else []
    return [place, *(each for places in below for each in places)]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5)
    | st.sampled_from(["NaN", "-Infinity", "epoch", "wandb", "right_images", "layer_responses"]),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(
        st.text(max_size=5) | st.sampled_from(["event", "step", "epoch", "value", "test", "images", "a.b"]),
        each,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


odd_rows = st.builds(dict, st.just(ROWS[0]), **dict.fromkeys(("epoch", "step", "x"), anything))


@settings(max_examples=120, deadline=None)
@given(
    place=st.sampled_from(leaves(CONFIG)),
    value=anything,
    other=st.sampled_from([None, *leaves(SUMMARY)]),
    content=anything,
    rows=st.lists(anything | odd_rows, max_size=3),
)
def test_parsing_never_raises(
    place: tuple[str, ...], value: Any, other: tuple[str, ...] | None, content: Any, rows: list[Any]
) -> None:
    summary = SUMMARY if other is None else changed(SUMMARY, other, content)
    parsed(changed(CONFIG, place, value), summary, [*ROWS, *rows])
    parsed(CONFIG, summary, [*ROWS, *rows])


@settings(max_examples=60, deadline=None)
@given(anything, anything, anything)
def test_parsing_texts_never_raises(config: Any, summary: Any, extra: Any) -> None:
    whole = {key: {"value": each} for key, each in CONFIG.items()}
    for told in (config, whole | {"extra": extra}, whole | {"extra": {"value": extra}}):
        parsed(config_values(decoded(json.dumps(told))), decoded(json.dumps(summary)), [extra])
