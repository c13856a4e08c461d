"""Every command that asks W&B, in a project that others use too, beside an edited run of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from wandb_lab import edit, manifest, share
from wandb_server import Server
from wandb_worker import make_cell

from ablations.sweep import manifest as manifests
from reports import __main__ as door

EDITED = make_cell(1)
WHY = "what W&B holds of it is damaged: its attempt is 3"


@pytest.fixture
def asked(runs: Path) -> Path:
    """The runs, and the sweep that asked for them."""
    manifests.write(runs, manifest(runs))
    return runs


def made(folder: Path) -> dict[str, bytes]:
    """What a report wrote."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("what", ["depth", "--all"])
def test_a_report_is_the_same_with_and_without_others_in_the_project(
    synced: Server, asked: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    command = [what, "--source", "wandb:lab/p", "--runs", str(asked), "--out", str(out)]
    assert door.main(command) == 0
    alone = made(out)
    share(asked.parent, synced)
    assert door.main(command) == 0
    assert made(out) == alone
    assert capsys.readouterr().err == ""
    edit(synced.projects["lab", "p"].runs[EDITED.identity], config={"attempt": {"value": 3}})
    assert door.main(command) == 0
    assert capsys.readouterr().err == f"{EDITED.identity}: {WHY}\n"
    assert made(out) != alone


def test_audit_and_sync_mend_ours_and_leave_theirs_as_they_are(
    synced: Server, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = share(runs.parent, synced)
    there = synced.projects["lab", "p"].runs
    edit(there[EDITED.identity], config={"attempt": {"value": 3}})
    ours = {path.name for path in runs.iterdir()}
    before = {name: (run.config, run.summary, run.history) for name, run in there.items() if name not in ours}
    assert len(before) == count
    where = ["lab/p", "--runs", str(runs)]
    assert door.main(["audit", *where]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"unreadable {EDITED.identity}  {EDITED.name}: {WHY}",
        f"mend: python -m reports sync lab/p --runs {runs}",
        f"{count} other runs in the project: left alone",
        "6 of 7 records agree with wandb:lab/p, 1 finding",
    ]
    assert door.main(["sync", *where]) == 0
    assert "1 of 1 runs pushed to wandb:lab/p and checked there" in capsys.readouterr().out
    assert door.main(["audit", *where]) == 0
    after = {name: (run.config, run.summary, run.history) for name, run in there.items() if name not in ours}
    assert after == before
