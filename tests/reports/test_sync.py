"""Sync: what is not on W&B gets there, or it is said why not, in bounded time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from small import ROOT
from wandb_lab import work
from wandb_server import HANG, ProjectNode, Run, Server
from wandb_worker import make_cell

from lightning_module.cell import record
from lightning_module.tracking import wandb_server
from reports import __main__ as door
from reports import audit, push, sync
from reports.sources import _wandb_client, wandb_offline


def test_a_file_with_another_configuration_is_made_again_from_the_record(
    server: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the file of another cell, though its history is that of the record."""
    path = runs / make_cell(1).identity / record.FILE
    _, *rest = re.sub(r', "crc": \d+', "", path.read_text()).splitlines(keepends=True)
    other = make_cell(1, 32)
    path.write_text("".join([json.dumps({"event": "cell", "schema": 1, **other.to_json()}) + "\n", *rest]))
    path.parent.rename(runs / other.identity)
    assert audit.main(["--runs", str(runs)]) == 1
    assert f"missing    {other.identity}" in capsys.readouterr().out
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
    assert server.requests == ["Runs", "Histories"], "nothing is pushed, nothing taken from the cache"


def test_a_sync_that_fails_says_so_and_can_be_run_again(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`wandb sync` itself returns 0 for this."""
    monkeypatch.setattr(sync, "PATIENCE", 0.5)
    server.fail(404, times=4, operation="RunResumeStatus")
    assert sync.main(["lab/p", "--runs", str(runs)]) == 1
    out = capsys.readouterr().out
    assert out.count("did not arrive") == 4
    assert out.count("wandb sync: Failed to get resume status for run ") == 4
    assert out.count(": returned error 404") == 4
    assert "3 of 7 runs pushed to wandb:lab/p and checked there" in out
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert "4 of 4 runs pushed" in capsys.readouterr().out


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits for a test."""
    monkeypatch.setattr(push, "START", 6.0)
    monkeypatch.setattr(push, "PER_FILE", 0.5)
    monkeypatch.setattr(sync, "PATIENCE", 0.5)


@pytest.mark.usefixtures("short_limits")
def test_a_server_that_takes_nothing_is_given_up_after_the_time_limit_of_one_call(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """wandb tries again for hours; what made it is said."""
    monkeypatch.setattr(push, "CHUNK", 2)
    server.fail(503, times=1000, operation="file_stream")
    begun = time.monotonic()
    assert sync.main(["lab/p", "--runs", str(runs)]) == 1
    assert time.monotonic() - begun < 25
    out = capsys.readouterr().out
    assert out.count("wandb sync: stopped at its time limit, 7 s; HTTP 503: status 503") == 2
    assert out.count("no run of its cell on W&B; wandb sync: not tried after that") == 5
    assert "0 of 7 runs pushed" in out


def test_a_key_that_may_not_write_is_one_sentence(
    server: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail(403, times=1000, operation="UpsertBucket")
    assert sync.main(["lab/p", "--runs", str(runs)]) == 1
    assert capsys.readouterr().out.endswith(
        f"nothing was pushed: {server.url} does not let this API key in there (HTTP 403); check the entity\n"
    )
    assert "RunResumeStatus" not in server.requests


@pytest.mark.usefixtures("short_limits")
def test_a_server_that_dies_meanwhile_leaves_open_what_arrived(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_wandb_client, "RETRIES", 0)
    real = push.push

    def then_dies(*arguments: Any) -> dict[str, str]:
        told = real(*arguments)
        server.__exit__()
        return told

    monkeypatch.setattr(sync, "push", then_dies)
    assert door.main(["sync", "lab/p", "--runs", str(runs)]) == 1
    assert capsys.readouterr().out.count("not known whether it did, ") == 7


def test_what_was_deleted_on_wandb_stays_so_unless_it_is_asked_for(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """W&B never takes such an id again, and `wandb sync` tries for ever."""
    deleted, other = make_cell(1), make_cell(3)
    project = synced.projects["lab", "p"]
    project.delete(deleted.identity)
    del project.runs[other.identity]
    begun = time.monotonic()
    assert sync.main(["lab/p", "--runs", str(runs)]) == 1
    assert time.monotonic() - begun < 20
    out = capsys.readouterr().out
    assert f"deleted    {deleted.identity}  {deleted.name}: somebody deleted it on wandb:lab/p, which" in out
    assert (
        f"and left so; if that was a mistake:  python -m reports sync lab/p --restore-deleted --runs {runs}"
        in out
    )
    assert "1 of 2 runs pushed" in out
    assert deleted.identity not in project.runs
    assert other.identity in project.runs

    del project.runs[other.identity]
    project.delete(make_cell(0).identity)
    assert sync.main(["lab/p", "--runs", str(runs), "--restore-deleted"]) == 0
    assert "3 of 3 runs pushed" in capsys.readouterr().out
    again = project.runs[f"{deleted.identity}-2"]
    assert json.loads(again.config)["cell"]["value"]["identity"] == deleted.identity
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0
    capsys.readouterr()

    assert work(runs, [{"seed": 1, "first": 6, "last": 7}]).returncode == 0
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0, "what goes on goes on under the new id"
    assert [row["epoch"] for row in again.rows][-2:] == [6, 7]
    assert deleted.identity not in project.runs

    for name in sync.run_ids(deleted.identity)[1:]:
        project.runs[name] = again
        project.delete(name)
    assert sync.main(["lab/p", "--runs", str(runs), "--restore-deleted"]) == 1
    assert "undelete one of them there" in capsys.readouterr().out


def test_what_a_push_cannot_replace_goes_under_a_new_id_when_it_was_deleted(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row of a history stays for good, whoever logged it."""
    monkeypatch.setattr(sync, "PATIENCE", 0.5)
    run = synced.projects["lab", "p"].runs[make_cell(1).identity]
    run.files["wandb-history.jsonl"][0] = '{"epoch": [1], "_step": 0}'
    run.__dict__.pop("rows", None)
    assert sync.main(["lab/p", "--runs", str(runs)]) == 1
    out = capsys.readouterr().out
    assert "a row of its history has epoch=a list" in out
    assert f"delete {synced.url}/lab/p/runs/{run.name} on W&B, then  python -m reports sync lab/p" in out
    run.project.delete(run.name)
    assert sync.main(["lab/p", "--runs", str(runs), "--restore-deleted"]) == 0
    assert audit.main(["lab/p", "--runs", str(runs)]) == 0


PARENT = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("here", flush=True)
Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""


def test_a_child_is_killed_with_its_own_children_in_whichever_session(tmp_path: Path) -> None:
    """The service of wandb 0.19 leaves the session, and would go on for ever."""
    begun = time.monotonic()
    told, ended = push.run(
        [sys.executable, "-c", PARENT, str(tmp_path / "pid")], 3, str(tmp_path), dict(os.environ)
    )
    assert (told, ended) == ("here\n", False)
    assert time.monotonic() - begun < 10
    stat = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    while (
        time.monotonic() - begun < 10
        and stat.exists()
        and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    ):
        time.sleep(0.1)
    assert time.monotonic() - begun < 10, "it is gone, or waits for somebody to ask how it ended"


def test_a_server_that_an_audit_waits_for_is_waited_for(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start of a cell does not, to whom offline will do."""
    monkeypatch.setattr(wandb_server, "SHORT_TIMEOUT", 0.2)
    server.latency = 0.5
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_sync_that_is_ended_leaves_no_child(server: Server, runs: Path, number: signal.Signals) -> None:
    """A scheduler and a closed terminal end it by other signals than Ctrl-C does."""
    server.fail(HANG, times=100, operation="file_stream")
    words = [sys.executable, "-m", "reports", "sync", "lab/p", "--runs", str(runs)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}

    def heed() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # in the background it is ignored

    with subprocess.Popen(words, start_new_session=True, preexec_fn=heed, **quiet) as ours:
        deadline = time.monotonic() + 60
        while "file_stream" not in server.requests and time.monotonic() < deadline:
            time.sleep(0.1)
        children = push._descendants(ours.pid)
        ours.send_signal(number)
        try:
            assert ours.wait(20) == 128 + number
        finally:
            ours.kill()
    states = [path.read_text() for pid in children if (path := Path(f"/proc/{pid}/stat")).exists()]
    assert children and all(state.rpartition(")")[2].split()[0] == "Z" for state in states)


def test_a_sync_without_wandb_is_one_sentence(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(_: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", version)
    assert door.main(["sync", "lab/p", "--runs", str(runs)]) == 2
    error = capsys.readouterr().err
    assert error == "error: sync needs the wandb package; run `pip install wandb`\n"


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


def test_a_file_of_a_newer_wandb_than_the_installed_one_is_made_again_from_the_record(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb 0.19 reads no file of 0.31."""
    monkeypatch.setattr(sync, "installed", lambda: "0.19.11")
    before = len(list(runs.rglob("*.wandb")))
    assert sync.main(["lab/p", "--runs", str(runs)]) == 0
    assert len(list(runs.rglob("*.wandb"))) == before + 7


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
