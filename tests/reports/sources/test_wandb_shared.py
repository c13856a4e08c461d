"""A project that others use too: their runs are left alone and counted, edited ones of ours are damaged by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from frames_schema import checked
from wandb_lab import edit, manifest, share
from wandb_server import Server
from wandb_worker import make_cell

from reports.sources import wandb_api

Edits = list[tuple[str, dict[str, Any], str]]
EDITED: Edits = [
    (make_cell(0).identity, {"config": {"attempt": {"value": 3}}}, "its attempt is 3"),
    (make_cell(1).identity, {"config": {"model": {"depth": 20}}}, "its config has model without a value"),
    (make_cell(2).identity, {"summary": {"events": ["x"]}}, "its events are no list of mappings"),
    (make_cell(3).identity, {"summary": {"epoch": [1]}}, "its summary has epoch=a list"),
]


def test_foreign_runs_are_left_alone_and_counted_and_edited_ones_are_damaged_by_name(
    synced: Server, runs: Path
) -> None:
    count = share(runs.parent, synced)
    stored = synced.projects["lab", "p"].runs
    ours = stored[make_cell(4).identity]
    stored["copy"] = type(ours)("copy", ours.project, fields=ours.fields, config=ours.config)
    stored["no json"] = type(ours)("no json", ours.project, fields=ours.fields, config="{", summary="[")
    for identity, change, _ in EDITED:
        edit(stored[identity], **change)
    stored[make_cell(0, 32).identity].files["wandb-history.jsonl"][0] = '{"epoch": [1], "_step": 0}'
    for _ in ("fetched", "from the cache"):
        frames = checked(wandb_api.load("lab/p", None))
        reasons = frames.runs.set_index("identity").query("state == 'damaged'")["reason"].to_dict()
        assert reasons == {
            make_cell(
                0, 32
            ).identity: "what W&B holds of it is damaged: a row of its history has epoch=a list",
            **{identity: f"what W&B holds of it is damaged: {why}" for identity, _, why in EDITED},
        }
        assert frames.foreign == count + 2
        assert len(frames.runs) == 7, "the others are read"
    only = wandb_api.load("lab/p", manifest(runs, make_cell(13).identity))
    assert (list(only.runs["state"]), only.foreign) == (["diverged"], 0)


@pytest.mark.parametrize("by_name", [True, False])
def test_of_several_runs_of_a_cell_the_one_that_was_pushed_last_counts(
    synced: Server, runs: Path, by_name: bool
) -> None:
    """Under its identity it had been deleted in between, or not; the link leads to the one that counts."""
    cell = make_cell(1).identity
    stored = synced.projects["lab", "p"].runs
    for number in (3, 2):
        again = type(stored[cell])(f"{cell}-{number}", stored[cell].project, config=stored[cell].config)
        again.fields, again.files = stored[cell].fields, stored[cell].files
        again.summary = json.dumps(json.loads(stored[cell].summary) | {"seconds": number})
        stored[again.name] = again
    frames = wandb_api.load("lab/p", manifest(runs, cell) if by_name else None)
    assert frames.runs.set_index("identity").at[cell, "url"] == f"{synced.url}/lab/p/runs/{cell}-3"
    assert frames.summaries == {cell: {"seconds": 3.0}}
    assert (len(frames.runs), frames.foreign) == (1 if by_name else 7, 0)
