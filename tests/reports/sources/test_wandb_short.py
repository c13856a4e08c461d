"""A server that gives less than it says it has: asked again, said, and never taken for whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb_lab import manifest, same
from wandb_server import Server
from wandb_worker import make_cell

from lightning_module.support.errors import ConfigError
from reports.sources import _wandb_listing, records, wandb_api

Page = dict[str, Any]


def at_first(times: int, bent: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The first answers bent, and all others as they are."""
    calls = []

    def bend(answer: Any) -> Any:
        calls.append(1)
        return bent(answer) if len(calls) <= times else answer

    return bend


def cut(page: Page) -> Page:
    """Half a page that is said to be the last one, without a word about where it ends."""
    return {"edges": page["edges"][:3], "pageInfo": {"endCursor": None, "hasNextPage": False}}


def half(page: Page) -> Page:
    """Fewer than were asked for, and where the next page begins, but not that there is one."""
    edges = page["edges"][:3]
    return {
        "edges": edges,
        "pageInfo": {"endCursor": edges[-1:] and edges[-1]["cursor"], "hasNextPage": False},
    }


def fewer(page: Page) -> Page:
    """Fewer than were asked for, as a server may do that has a smaller limit."""
    more = len(page["edges"]) > 2 or page["pageInfo"]["hasNextPage"]
    edges = page["edges"][:2]
    return {
        "edges": edges,
        "pageInfo": {"endCursor": edges[-1:] and edges[-1]["cursor"], "hasNextPage": more},
    }


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("bend", [fewer, half, at_first(1, cut)], ids=["fewer", "not the last", "once"])
def test_runs_that_came_short_are_asked_for_until_all_are_there(
    synced: Server, runs: Path, by_name: bool, bend: Callable[[Page], Page]
) -> None:
    synced.bend_runs = bend if bend in (fewer, half) else at_first(1, cut)
    frames = wandb_api.load("lab/p", manifest(runs) if by_name else None)
    same(frames, records.load(str(runs), None))


@pytest.mark.parametrize("by_name", [True, False])
def test_runs_that_stay_away_are_said_and_the_list_is_not_taken_for_whole(
    synced: Server, runs: Path, caplog: pytest.LogCaptureFixture, by_name: bool
) -> None:
    wanted = manifest(runs) if by_name else None
    synced.bend_runs = lambda page: cut(page) if len(page["edges"]) > 3 else page
    assert len(wandb_api.load("lab/p", wanted).runs) == 3
    assert (
        "gave 3 of the 7 runs of wandb:lab/p, asked 3 times; what is missing here may be there" in caplog.text
    )
    synced.bend_runs = lambda page: page
    same(wandb_api.load("lab/p", wanted), records.load(str(runs), None))


def stuck(page: Page) -> Page:
    return page | {"pageInfo": {"endCursor": "MQ==", "hasNextPage": True}}


def empty(page: Page) -> Page:
    return {"edges": [], "pageInfo": {"endCursor": "MQ==", "hasNextPage": True}}


def nowhere(page: Page) -> Page:
    return page | {"pageInfo": {"endCursor": None, "hasNextPage": True}}


@pytest.mark.parametrize(
    ("bend", "what"), [(stuck, "the same page again"), (empty, "an empty page"), (nowhere, "")]
)
@pytest.mark.parametrize("by_name", [True, False])
def test_a_list_that_does_not_end_is_one_sentence(
    synced: Server, runs: Path, bend: Callable[[Page], Page], what: str, by_name: bool
) -> None:
    synced.bend_runs = bend
    synced.requests.clear()
    with pytest.raises(
        ConfigError, match=rf"gives .*{what}.* promises more runs of wandb:lab/p: its list does not end"
    ):
        wandb_api.load("lab/p", manifest(runs) if by_name else None)
    assert len(synced.requests) <= 3


@pytest.mark.parametrize("answer", [None, {"edges": None, "pageInfo": {"hasNextPage": False}}])
def test_an_answer_of_another_shape_is_one_sentence(synced: Server, answer: Any) -> None:
    synced.bend_runs = lambda page: answer
    with pytest.raises(ConfigError, match=r"does not answer as a W&B server does|refuses the query"):
        wandb_api.load("lab/p", None)


@pytest.mark.parametrize("short", [lambda lines: None, lambda lines: lines[:1], lambda lines: []])
def test_a_history_that_is_short_once_is_asked_for_again(
    synced: Server, runs: Path, short: Callable[[list[str]], Any]
) -> None:
    synced.bend_history = at_first(7, short)
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))


def test_a_history_that_stays_short_is_damaged_by_name_and_fetched_again(synced: Server, runs: Path) -> None:
    cell = make_cell(1).identity
    known = synced.projects["lab", "p"].runs[cell].history
    synced.bend_history = lambda lines: lines[:2] if lines == known else lines
    row = wandb_api.load("lab/p", None).runs.set_index("identity").loc[cell]
    assert (row["state"], row["reason"]) == (
        "damaged",
        "W&B gives its history up to epoch 2, and says that it came to epoch 5",
    )
    assert (wandb_api.load("lab/p", None).runs["state"] == "damaged").sum() == 1, "nor from the cache"
    synced.bend_history = lambda lines: lines
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))


def test_a_history_without_a_row_in_its_middle_says_so_and_is_fetched_again(
    synced: Server, runs: Path
) -> None:
    """Its results are those of the last epoch, which is there."""
    cell = make_cell(1).identity
    known = synced.projects["lab", "p"].runs[cell].history
    synced.bend_history = lambda lines: [*lines[:2], *lines[3:]] if lines == known else lines
    frames = wandb_api.load("lab/p", None)
    row = frames.runs.set_index("identity").loc[cell]
    assert (row["state"], row["epoch"]) == ("finished", 5)
    assert re.fullmatch(r"W&B gives \d of the \d rows of its history", row["reason"])
    synced.bend_history = lambda lines: lines
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))


def test_a_count_of_rows_that_is_missing_hides_no_history(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wandb_listing, "RUNS", _wandb_listing.RUNS.replace(" historyLineCount", ""))
    same(wandb_api.load("lab/p", None), records.load(str(runs), None))


def test_a_fresh_look_takes_nothing_from_the_cache(synced: Server, runs: Path) -> None:
    """Not even a history whose run has neither a new heartbeat nor another summary."""
    wandb_api.load("lab/p", None)
    run = synced.projects["lab", "p"].runs[make_cell(1).identity]
    run.history[1] = run.history[1].replace('"epoch":2', '"epoch":2,"extra":7')
    run.__dict__.pop("rows", None)
    assert "extra" not in wandb_api.load("lab/p", None).history
    assert wandb_api.load_fresh("lab/p").history["extra"].tolist().count(7) == 1
    assert wandb_api.load_fresh("lab/p", [run.name]).history["extra"].tolist().count(7) == 1
