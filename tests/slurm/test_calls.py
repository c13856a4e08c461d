"""Calls of SLURM's commands that fail for a moment, fail for good, or would be too long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm import cluster

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script of this name on PATH, with $n for the number of the call."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def write(name: str, script: str) -> None:
        calls = tmp_path / f"{name}.calls"
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" >> {calls}\nn=$(wc -l < {calls})\n{script}\n')
        (tmp_path / name).chmod(0o755)

    return write


def calls(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.calls").read_text().splitlines()


def test_a_job_asks_again_while_the_controller_is_silent(program: Program, tmp_path: Path) -> None:
    program("scontrol", '[ "$n" -gt 2 ] && echo "JobState=RUNNING Restarts=0" || exit 1')
    assert cluster.job_now("12_3") == {"JobState": "RUNNING", "Restarts": "0"}


def test_it_asks_no_more_than_it_is_wanted_to(program: Program, tmp_path: Path) -> None:
    program("scontrol", "exit 1")
    with pytest.raises(cluster.SlurmError):
        cluster.persist("scontrol", "requeue", "12_3", wanted=lambda: len(calls(tmp_path, "scontrol")) < 3)
    assert len(calls(tmp_path, "scontrol")) == 3
    with pytest.raises(cluster.NoProgramError):
        cluster.persist("no-such-program")


ROW = "12_3|a|COMPLETED|node1|00:01|15:00"


@pytest.mark.parametrize(
    ("script", "asked", "known", "told"),
    [
        (f"echo '{ROW}'", 1, True, False),
        (f"[ $n -gt 1 ] && echo '{ROW}' || exit 1", 2, True, False),
        ("echo 'sacct: error: Connection refused' >&2; exit 1", 2, False, True),
        ("echo 'Slurm accounting storage is disabled' >&2; exit 1", 1, False, False),
    ],
)
def test_accounting_that_fails_for_a_moment_is_not_accounting_that_is_off(
    program: Program,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    script: str,
    asked: int,
    known: bool,
    told: bool,
) -> None:
    program("squeue", "")
    program("sacct", script)
    assert (("a", 3) in cluster.jobs(["a"])) == known
    assert len(calls(tmp_path, "sacct")) == asked
    assert ("Connection refused" in capsys.readouterr().err) == told


def test_names_are_no_argument_when_there_are_too_many(program: Program, tmp_path: Path) -> None:
    program(
        "squeue", "echo '1|0|sweep-3|RUNNING|n|None|0:00|1:00'; echo '2|0|other|RUNNING|n|None|0:00|1:00'"
    )
    program("sacct", "")
    names = [f"sweep-{number}" for number in range(12000)]
    assert list(cluster.jobs(names)) == [("sweep-3", 0)]
    assert list(cluster.jobs(["sweep-3"])) == [("sweep-3", 0)]
    every, one = calls(tmp_path, "squeue")
    assert ("--name" in every, "--name=sweep-3" in one) == (False, True)
    assert f"--user={os.getuid()} " in every
