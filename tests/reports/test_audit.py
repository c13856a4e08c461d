"""Audit: what differs is found and named with its cure, and no cure harms anybody."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from wandb_lab import edit, share, work
from wandb_server import Server, now
from wandb_worker import make_cell

from lightning_module.cell import record
from lightning_module.support.disk import Lock
from reports import __main__ as door
from reports import audit, sync
from reports.sources import wandb_api


def line(text: str, word: str) -> str:
    """The one line of an output that starts with a word."""
    (found,) = [row for row in text.splitlines() if row.startswith(word)]
    return found


def test_files_and_records_of_the_same_runs_agree(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["--runs", str(runs)]) == 0
    assert capsys.readouterr().out == "7 of 7 records agree with the W&B files, 0 findings\n"


def test_each_kind_of_difference_is_found_with_its_cure(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = synced.projects["lab", "p"].runs
    del stored[make_cell(0).identity]
    del stored[make_cell(1).identity]
    shutil.rmtree(runs / make_cell(1).identity / "wandb")
    assert work(runs, [{"seed": 4, "first": 3, "last": 5}]).returncode == 0
    run = stored[make_cell(3).identity]
    lines = run.files["wandb-history.jsonl"]
    lines[-1] = json.dumps(json.loads(lines[-1]) | {"test/error": 1.5})
    run.heartbeat = now()
    run.__dict__.pop("rows", None)
    shutil.rmtree(runs / make_cell(0, 32).identity)
    assert audit.main(["lab/p", "--runs", str(runs)]) == 1
    text = capsys.readouterr().out
    assert line(text, "not synced").split()[2] == make_cell(0).identity
    assert line(text, "missing").split()[1] == make_cell(1).identity
    assert f"stale      {make_cell(4).identity}" in text
    assert "state finished in the record, killed on W&B; epoch 5 in the record, 3 on W&B" in line(
        text, "stale"
    )
    assert "at epoch 6, test/error: 8.236" in line(text, "different")
    assert "1.5 on W&B" in line(text, "different")
    assert f"mend: python -m reports sync lab/p --runs {runs}" in text
    assert "2 of 6 records agree with wandb:lab/p, 4 findings" in text
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "4 of 4 runs pushed to wandb:lab/p and checked there" in capsys.readouterr().out
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0, (
        "a run without a record is no fault of this machine"
    )
    text = capsys.readouterr().out
    assert line(text, "1 run of ours") == (
        "1 run of ours has no record here (ResNet-32 A seed 0); report from W&B:  "
        f"python -m reports NAME --source wandb:lab/p --runs {runs}"
    )
    assert text.endswith("6 of 6 records agree with wandb:lab/p, 0 findings\n")


def test_the_runs_of_others_are_counted_and_never_offered_for_deletion(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of them have the same configuration, as duplicates have."""
    count = share(runs.parent, synced)
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out == (
        f"{count} other runs in the project: left alone\n7 of 7 records agree with wandb:lab/p, 0 findings\n"
    )


def test_of_several_runs_of_a_cell_both_are_named_and_none_is_to_go(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = make_cell(1).identity
    ours = synced.projects["lab", "p"].runs[cell]
    ours.project.runs[f"{cell}-2"] = replace(ours, name=f"{cell}-2")
    assert audit.main(["lab/p", "--runs", str(runs)]) == 1
    text = capsys.readouterr().out
    url = f"{synced.url}/lab/p/runs/{cell}"
    assert line(text, "duplicate") == (
        f"duplicate  {cell}  ResNet-20 A seed 1: several runs of one cell; {url}-2 counts, not {url}"
    )
    assert line(text, "mend:") == (
        f"mend: look at the runs of {cell}; reports take {url}-2 alone, so nothing needs to go"
    )
    assert "delete" not in text


def test_what_was_edited_into_nonsense_is_named_and_a_push_puts_it_right(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = synced.projects["lab", "p"].runs
    for identity, change, _ in NONSENSE:
        edit(stored[identity], **change)
    assert audit.main(["lab/p", "--runs", str(runs)]) == 1
    text = capsys.readouterr().out
    for identity, _, why in NONSENSE:
        assert why in line(text, f"unreadable {identity}")
    assert f"mend: python -m reports sync lab/p --runs {runs}" in text
    assert f"{7 - len(NONSENSE)} of 7 records agree with wandb:lab/p, {len(NONSENSE)} findings" in text
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0


NONSENSE: list[tuple[str, dict[str, Any], str]] = [
    (make_cell(0).identity, {"config": {"attempt": {"value": 3}}}, "its attempt is 3"),
    (make_cell(1).identity, {"config": {"model": {"depth": 20}}}, "its config has model without a value"),
    (make_cell(2).identity, {"summary": {"events": ["x"]}}, "its events are no list of mappings"),
    (make_cell(3).identity, {"summary": {"epoch": [1]}}, "its summary has epoch=a list"),
]


EDITS: list[tuple[str, dict[str, Any], str]] = [
    (
        make_cell(0).identity,
        {"config": {"recipe": {"value": {"learning_rate": 99}}}},
        "recipe.drops: (240, 340) in the record, None on W&B and 1 more",
    ),
    (make_cell(1).identity, {"config": {"seed": {"value": 77}}}, "seed: 1 in the record, 77 on W&B"),
    (make_cell(3).identity, {"summary": {"test/error": 0.001}}, "test/error in the summary on W&B is 0.001"),
    (make_cell(0, 32).identity, {"summary": {"seconds": None}}, "seconds in the summary on W&B is None"),
    (make_cell(13).identity, {"summary": {"events": []}}, "events on W&B are not those of the record"),
]


@pytest.mark.parametrize("looked_before", [False, True])
def test_what_was_changed_by_hand_is_found_and_put_right(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str], looked_before: bool
) -> None:
    """No heartbeat tells of it, so the cache must not either."""
    if looked_before:
        wandb_api.load("lab/p", None)
    for identity, change, _ in EDITS:
        edit(synced.projects["lab", "p"].runs[identity], **change)
    assert audit.main(["lab/p", "--runs", str(runs)]) == 1
    out = capsys.readouterr().out
    for identity, _, text in EDITS:
        assert text in line(out, f"different  {identity}")
    assert f"2 of 7 records agree with wandb:lab/p, {len(EDITS)} findings" in out
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0


def test_a_key_that_was_added_by_hand_is_found(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report from W&B would show it, and no sync takes it away."""
    run = synced.projects["lab", "p"].runs[make_cell(1).identity]
    edit(run, config={"extra": {"value": {"key": 1}}})
    assert audit.main(["lab/p", "--runs", str(runs)]) == 1
    out = capsys.readouterr().out
    assert "configuration on W&B that no record has: extra.key" in line(out, "added")
    assert f"mend: take the key out of the configuration of {synced.url}/lab/p/runs/{run.name} on W&B" in out
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out == "wandb:lab/p has all of it\n"


def test_what_is_damaged_or_still_running_does_not_count_as_agreeing(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Lock(runs / make_cell(4).identity):
        assert audit.main(["lab/p", "--runs", str(runs)]) == 0
        out = capsys.readouterr().out
        assert out == "6 of 7 records agree with wandb:lab/p, 0 findings, 1 still running and not compared\n"
        path = runs / make_cell(3).identity / record.FILE
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:2], b"{\n", *lines[3:]]))
        assert audit.main(["lab/p", "--runs", str(runs)]) == 1
        out = capsys.readouterr().out
        assert "is damaged in line 3" in line(out, "damaged")
        assert f"mend: restore the record, or move {path.parent} away and run the cell again" in out
        assert "5 of 7 records agree with wandb:lab/p, 1 finding, 1 still running and not compared" in out
        assert sync.main(["lab/p", "--runs", str(runs)]) == 1
        out = capsys.readouterr().out
        assert "1 still running: left for later" in out
        assert "1 damaged: cannot be pushed" in out


@pytest.mark.parametrize("name", ["audit", "sync"])
def test_a_place_as_a_source_names_it_is_put_right(
    name: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main([name, "wandb:lab/p", "--runs", str(runs)]) == 2
    said = "error: wandb:lab/p does not say where; allowed is ENTITY/PROJECT; did you mean lab/p?\n"
    assert capsys.readouterr().err.strip() == said.strip()


def test_what_the_files_lack_is_not_said_of_the_server(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(runs / make_cell(1).identity / "wandb")
    assert door.main(["audit", "--runs", str(runs)]) == 1
    out = capsys.readouterr().out
    assert "a record, but no run of its cell in the W&B files" in out and "on W&B" not in out
