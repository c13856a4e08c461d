"""The state of a cell, from its record and from what SLURM says."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lightning_module.cell.record import FILE, Record
from slurm import store
from slurm.__main__ import main
from slurm.listing import Job, merge, parse_sacct, parse_squeue
from slurm.resources import Limits
from slurm.site import parse_partitions, unresolvable
from slurm.status import job_state


def record(word: str, **content: Any) -> Record:
    """A record in this state."""
    return Record(Path("runs/0123"), {"identity": "0123"}, state=word, **content)  # type: ignore[arg-type]


def job(word: str, reason: str = "None") -> Job:
    """A job in this state."""
    return Job("12_3", "sweep", 3, word, "node1", reason)


@pytest.mark.parametrize(
    ("found", "there", "submitted", "expected"),
    [
        (record("planned"), job("PENDING", "Priority"), True, ("queued", "Priority")),
        # Its job is queued again, so what the record says of the last attempt is not the last word.
        (record("killed"), job("PENDING", "BeginTime"), True, ("queued", "BeginTime")),
        (record("failed"), job("RUNNING"), True, ("running", "")),
        (record("finished"), job("FAILED"), True, ("finished", "")),
        (record("diverged"), None, True, ("diverged", "")),
        (record("failed", status={"error": "KeyError: x"}), job("FAILED"), True, ("failed", "KeyError: x")),
        # Not retried: a job of it could only fail.
        (record("damaged", damage="line 3"), job("FAILED"), True, ("damaged", "line 3")),
        (record("killed"), job("CANCELLED"), True, ("cancelled", "by scancel")),
        (record("killed"), job("TIMEOUT"), True, ("killed", "time limit; run the command again to go on")),
        (record("killed"), job("PREEMPTED"), True, ("killed", "preempted")),
        (record("planned"), None, True, ("cancelled", "before it started")),
        (record("planned"), None, False, ("planned", "")),
        (record("running"), None, True, ("running", "by a process outside of SLURM")),
    ],
)
def test_job_state(found: Record, there: Job | None, submitted: bool, expected: tuple[str, str]) -> None:
    assert job_state(found, there, "", submitted) == expected


def test_a_cell_that_trains_unseen_by_slurm_may_have_a_job() -> None:
    unseen = "SLURM does not answer"
    assert job_state(record("running"), None, "", submitted=True, unseen=unseen) == ("running", unseen)


@pytest.mark.parametrize(
    ("found", "there", "expected"),
    [
        (record("killed"), None, "cancelled"),
        (record("killed"), job("COMPLETED"), "cancelled"),
        (record("finished"), None, "finished"),
        (record("killed"), job("PENDING"), "queued"),
    ],
)
def test_what_was_cancelled_stays_so_when_slurm_has_forgotten_it(
    found: Record, there: Job | None, expected: str
) -> None:
    assert job_state(found, there, "", True, cancelled=True)[0] == expected


def test_what_squeue_and_sacct_say() -> None:
    queue = parse_squeue("12|3|a|PENDING||BeginTime|me\n13|N/A|b|RUNNING|node1|None|me\n")
    assert [(one.id, one.name, one.index, one.active) for one in queue] == [
        ("12_3", "a", 3, True),
        ("13", "b", 0, True),
    ]
    rows = "12_3|a|FAILED|node1|me\n12_[4-9]|a|PENDING||me\n12_2|a|CANCELLED by 0|n|me\n"
    accounting = parse_sacct(rows)
    assert [(one.index, one.state) for one in accounting] == [(3, "FAILED"), (2, "CANCELLED")]
    assert merge(queue, accounting)[("a", 3)].state == "PENDING"


def test_of_jobs_with_one_name_the_active_one_counts() -> None:
    """The controllers of one round of a settled sweep."""
    queue = parse_squeue("14|N/A|a|PENDING||Dependency|me\n13|N/A|a|COMPLETED|node1|None|me\n")
    assert merge(queue, []) == {("a", 0): Job("14", "a", 0, "PENDING", "", "Dependency", "me")}


def test_what_only_sacct_takes_for_running_is_not() -> None:
    accounting = parse_sacct("12_1|a|RUNNING|node1|me\n12_2|a|PREEMPTED|node1|me\n")
    assert [(one.index, one.active) for one in merge([], accounting).values()] == [(2, False)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("memm=3", "hydra.launcher.memm is not a key; .* did you mean mem?"),
        ("mem=lots", "hydra.launcher.mem=lots is not a memory size"),
        ("wait=yes", "hydra.launcher.wait=yes is not true or false"),
        ("mem", "hydra.launcher.mem is not an override; write hydra.launcher.mem=VALUE"),
    ],
)
def test_what_retry_sets_is_checked_as_at_the_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["retry", "--runs", str(tmp_path), "--set", change])
    assert ended.value.code == 2
    assert re.search(words, capsys.readouterr().err)


def test_partitions() -> None:
    rows = ("gpu*|2-00:00:00|64|512000+|gpu:a100:4(S:0-1)", "gpu*|2-00:00:00|32|256000|gpu:v100:2")
    found, default = parse_partitions("\n".join((*rows, "cpu|infinite|8+|1024|(null)")))
    assert default == "gpu"
    assert found == {"gpu": Limits(2880, 64, 500.0, 4), "cpu": Limits(None, 8, 1.0, 0)}


def test_a_host_without_an_address_is_found() -> None:
    assert unresolvable(["localhost", "no-such-host.invalid"]) == ["no-such-host.invalid"]


def test_a_damaged_record_is_named_by_status_and_by_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the other cells are still shown."""
    for name in ("squeue", "sacct"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    runs = tmp_path / "runs"
    cells = tuple({"identity": name, "name": f"cell {name}"} for name in ("0" * 12, "1" * 12))
    array = store.Array("sweep.0", "sweep", "sweep", 0.0, "", cells, {})
    (runs / store.FOLDER / "sweep.0").mkdir(parents=True)
    (runs / store.FOLDER / "sweep.0" / "array.json").write_text(json.dumps(asdict(array)))
    path = runs / ("0" * 12) / FILE
    path.parent.mkdir()
    path.write_text('{"event": "epoch", "seconds": NaN}\n')
    damage = f"{path} is damaged in line 1 (a record starts with its cell)"
    main(["status", "--runs", str(runs)])
    shown = capsys.readouterr().out
    assert damage in shown
    assert "cell 111111111111  planned" in shown
    main(["logs", "0" * 12, "--runs", str(runs)])
    assert damage in capsys.readouterr().err
    known = json.dumps(asdict(array) | {"name": "odd"})
    odd = (
        "[]",
        "3",
        "\0",
        "[" * 100_000,
        '{"why": [1]}',
        '{"event": "end"}',
        '{"event": [], "job": "1"}',
        known,
    )
    changed = [
        json.dumps(asdict(array) | {"name": "odd"} | {key: value})
        for key, value in (
            ("time", "x"),
            ("cells", [3]),
            ("cells_per_job", 0),
            ("options", 1),
            ("sweep", None),
        )
    ]
    (runs / store.FOLDER / "odd").mkdir()
    for text in (*odd, *changed):
        for file in (
            runs / store.FOLDER / "odd" / "array.json",
            runs / store.FOLDER / "sweep.0" / "stopped.json",
        ):
            file.write_text(text)
        (path.parent / "jobs.jsonl").write_text(f"{text}\n")
        (path.parent / "owner.json").write_text(text)
        for words in (["status"], ["logs", "1" * 12], ["cancel", "sweep"], ["retry", "sweep"]):
            assert main([*words, "--runs", str(runs)]) in (0, 1, 2, None)
        assert store.owner(path.parent) is None
