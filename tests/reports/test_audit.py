"""Audit, sync and publishing: what differs is found, named with its cure, and cured."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from wandb_lab import manifest, work
from wandb_server import ProjectNode, Run, Server, now
from wandb_worker import make_cell

from lightning_module.cell import record
from lightning_module.support.disk import Lock
from lightning_module.support.errors import ConfigError
from reports import __main__ as door
from reports import audit, publish, sync
from reports.sources import _wandb_client, records, wandb_api, wandb_offline


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
    twin = type(run)("copy", run.project, fields=run.fields, config=stored[make_cell(13).identity].config)
    stored["copy"] = twin
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
    assert line(text, "extra").split()[1] == make_cell(0, 32).identity
    assert f"the same cell as run {make_cell(13).identity}" in line(text, "duplicate")
    assert f"mend: python -m reports sync lab/p --runs {runs}" in text
    assert "wandb.Api().run('lab/p/copy').delete()" in text
    assert "2 of 6 records agree with wandb:lab/p, 6 findings" in text
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "4 of 4 runs pushed to wandb:lab/p and checked there" in capsys.readouterr().out
    assert audit.main(["lab/p", "--runs", str(runs)]) == 1
    text = capsys.readouterr().out
    assert {row.split()[0] for row in text.splitlines()} == {"extra", "duplicate", "mend:", "6"}


def edit(run: Run, **changes: dict[str, Any]) -> None:
    """Change a run on the server as one does by hand: "config" and "summary", a key at a time."""
    for part, values in changes.items():
        setattr(run, part, json.dumps(json.loads(getattr(run, part)) | values))


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
    assert f"mend: delete the key from the configuration of lab/p/{run.name} on W&B" in out
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
        assert "5 of 7 records agree with wandb:lab/p, 1 findings, 1 still running and not compared" in out
        assert sync.main(["lab/p", "--runs", str(runs)]) == 1
        out = capsys.readouterr().out
        assert "1 still running: left for later" in out
        assert "1 damaged: cannot be pushed" in out


def test_a_file_with_another_configuration_is_made_again_from_the_record(
    server: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its history is that of the record, so only the configuration tells."""
    path = runs / make_cell(1).identity / record.FILE
    _, *rest = re.sub(r', "crc": \d+', "", path.read_text()).splitlines(keepends=True)
    other = make_cell(1, 32)
    path.write_text("".join([json.dumps({"event": "cell", "schema": 1, **other.to_json()}) + "\n", *rest]))
    path.parent.rename(runs / other.identity)
    assert audit.main(["--runs", str(runs)]) == 1
    assert "model.depth: 32 in the record, 20 on W&B" in line(capsys.readouterr().out, "different")
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert (
        json.loads(server.projects["lab", "p"].runs[other.identity].config)["model"]["value"]["depth"] == 32
    )


def test_a_server_that_shows_things_late_is_asked_again(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was written is not in its lists at once."""
    real, asked = ProjectNode._select, 0

    def select(self: ProjectNode, filters: str | None) -> list[Run]:
        nonlocal asked
        asked += 1
        return [] if asked <= 4 else real(self, filters)  # runCount and runs, at each reading

    monkeypatch.setattr(ProjectNode, "_select", select)
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "7 of 7 runs pushed to wandb:lab/p and checked there" in capsys.readouterr().out
    assert server.requests.count("Runs") == 4  # before there was a project, twice too early, and then


def test_a_sync_makes_the_project_and_checks_every_run(
    server: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync.main(["lab/new", "--runs", str(runs), "--dry-run"]) == 0
    assert "7 of 7 runs to push" in capsys.readouterr().out
    assert "UpsertBucket" not in server.requests
    files = len(list(runs.rglob("*.wandb")))
    assert sync.main(["lab/new", "--runs", str(runs)]) == 0
    assert "7 of 7 runs pushed to wandb:lab/new and checked there" in capsys.readouterr().out
    run = server.projects["lab", "new"].runs[make_cell(3).identity]
    assert [row["epoch"] for row in run.rows] == [1, 2, 3, 4, 5, 6], "the last file alone holds the whole run"
    assert run.fields["groupName"] == "depth"
    assert len(list(runs.rglob("*.wandb"))) == files, "nothing was made that was there already"
    server.requests.clear()
    assert sync.main(["lab/new", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out == "wandb:lab/new has all of it\n"
    assert server.requests == ["Runs"]


def test_a_sync_that_fails_says_so_and_can_be_run_again(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`wandb sync` itself returns 0 for this."""
    monkeypatch.setattr(sync, "PATIENCE", 0.5)
    server.fail(404, times=4, operation="UpsertBucket")
    assert sync.main(["lab/p", "--runs", str(runs)]) == 1
    assert capsys.readouterr().out.count("did not arrive") == 4
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "4 of 4 runs pushed" in capsys.readouterr().out


def test_a_marker_file_is_not_believed(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in runs.rglob("*.wandb"):
        path.with_name(f"{path.name}.synced").touch()
    synced.projects.clear()
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "7 of 7 runs pushed" in capsys.readouterr().out


def test_runs_trained_without_wandb_are_pushed_from_their_records(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "plain"
    assert (
        work(runs, [{"seed": 0, "last": 3}, {"seed": 13, "last": 3, "end": "diverged"}], "none").returncode
        == 0
    )
    assert not list(runs.rglob("*.wandb"))
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "2 of 2 runs pushed" in capsys.readouterr().out
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0


def test_a_damaged_file_is_made_again_from_the_record(server: Server, runs: Path) -> None:
    (path,) = wandb_offline.files(runs / make_cell(1).identity)
    path.write_bytes(path.read_bytes()[:300])
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0


def test_neither_audit_nor_sync_takes_the_cache_for_the_server(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_wandb_client, "RETRIES", 1)
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0
    synced.__exit__()
    assert door.main(["audit", "lab/p", "--runs", str(runs)]) == 2
    assert door.main(["sync", "lab/p", "--runs", str(runs)]) == 2
    error = capsys.readouterr().err
    assert error.count("does not answer") == 2
    assert "Traceback" not in error


MARKDOWN = """# Does depth help?

**DRAFT: 6 of 8 finished.**

It does.

## Results

| depth | error |
|:--|--:|
| 20 | 1.0 |

![Error against depth](figures/error.svg)

*Error against depth*

> [!WARNING]
> One cell is missing.

## Provenance

`python -m reports depth`
"""


def test_a_report_is_published_with_live_panels_and_replaced_the_next_time(
    synced: Server, runs: Path
) -> None:
    pytest.importorskip("wandb_workspaces")
    sweep = manifest(runs)
    url = publish.publish(MARKDOWN, "wandb:lab/p", sweep)
    assert publish.publish(MARKDOWN.replace("It does", "Yes"), "wandb:lab/p", sweep) == url
    (view,) = synced.projects["lab", "p"].views.values()
    assert view["displayName"] == "Does depth help?"
    blocks = json.loads(view["spec"])["blocks"]
    kinds = [block["type"] for block in blocks if block["type"] != "paragraph"]
    assert kinds == ["markdown-block", "markdown-block", "panel-grid", "markdown-block"]
    text = "\n".join(block.get("content", "") for block in blocks)
    assert "Yes." in text
    assert "| 20 | 1.0 |" in text
    assert "**Warning:** One cell is missing." in text
    assert "figures/error.svg" not in text
    (grid,) = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    (chosen,) = grid["runSets"][0]["filters"]["filters"]
    assert set(chosen["value"]) >= set(records.load(str(runs), None).runs["identity"])
    assert [key["name"] for key in grid["runSets"][0]["grouping"]] == ["model.value.depth"]
    panels = grid["panelBankSectionConfig"]["panels"]
    assert panels[0]["config"]["metrics"] == ["test/error"]
    assert panels[0]["config"]["xAxis"] == "epoch"


def test_publishing_without_its_package_or_to_nowhere_is_one_sentence(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(ConfigError, match="pip install wandb-workspaces"):
        publish.publish(MARKDOWN, "wandb:lab/p", manifest(runs))
    with pytest.raises(ConfigError, match="lab/nothing does not exist"):
        publish.publish(MARKDOWN, "wandb:lab/nothing", manifest(runs))
    with pytest.raises(ConfigError, match="allowed is wandb:ENTITY/PROJECT"):
        publish.publish(MARKDOWN, "medium:lab/p", manifest(runs))
