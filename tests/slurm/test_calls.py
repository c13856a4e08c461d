"""Calls of SLURM's commands that fail for a moment, fail for good, come too late, or would be too long."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from small import ROOT

from ablations.sweep.compose import compose, make_cell
from lightning_module.cell.identity import Cell
from lightning_module.support.errors import ConfigError
from slurm import cluster, store
from slurm.after import after
from slurm.options import Options
from slurm.resources import Limits
from slurm.site import Site
from slurm.submit import submit

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


def test_what_slurm_would_not_take_is_tried_again_by_a_job_and_bad_input_is_not(
    program: Program, tmp_path: Path
) -> None:
    asked: list[Exception] = [cluster.RefusedError("no answer"), cluster.SlurmError("no answer")]

    def work() -> str:
        if asked:
            raise asked.pop()
        return "taken"

    assert cluster.patiently(work) == "taken"
    asked += [ConfigError("bad input")] * 2
    with pytest.raises(ConfigError, match="bad input"):
        cluster.patiently(work)
    assert len(asked) == 1


ROW = "12_3|a|COMPLETED|node1"


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
    program("squeue", "echo '1|0|sweep-3|RUNNING|n|None'; echo '2|0|other|RUNNING|n|None'")
    program("sacct", "")
    names = [f"sweep-{number}" for number in range(12000)]
    assert list(cluster.jobs(names)) == [("sweep-3", 0)]
    assert list(cluster.jobs(["sweep-3"])) == [("sweep-3", 0)]
    every, one = calls(tmp_path, "squeue")
    assert ("--name" in every, "--name=sweep-3" in one) == (False, True)
    assert f"--user={os.getuid()} " in every


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, list[str]]]:
    """Judges a job whose rank was interrupted -> (exit code, what was decided)."""
    cell: Cell = make_cell(compose(["seed=0"]), ("seed=0",))
    folder, run = tmp_path / "runs" / "slurm" / "sweep.0", tmp_path / "runs" / cell.identity
    folder.mkdir(parents=True)
    run.mkdir()
    names = ({"identity": cell.identity, "name": cell.name},)
    array = store.Array("sweep.0", "sweep", "sweep", 0.0, "code", names, asdict(Options()))
    store.write_array(folder, array, [cell])
    for key, value in {"ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "0", "JOB_NODELIST": "node1"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    store.note(run, "start", store.Attempt.here(), step=0, nodes="node1")

    def judge() -> tuple[int, list[str]]:
        code = after(folder, 0, 0)
        return code, [line["action"] for line in store.history(run) if line["event"] == "end"]

    return judge


ASKED = 'case "$*" in *show*) echo JobState=RUNNING Restarts=0;; esac'
Judge = Callable[[], tuple[int, list[str]]]


def test_a_job_that_cannot_ask_is_not_completed(
    program: Program, ended: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("scontrol", "exit 1")
    monkeypatch.setattr(cluster, "PATIENCE", 0.0)
    assert ended() == (1, ["leave"])


def test_an_interrupted_job_is_queued_again(program: Program, ended: Judge, tmp_path: Path) -> None:
    program("scontrol", ASKED)
    assert ended() == (0, ["requeue"])
    assert calls(tmp_path, "scontrol")[-1] == "requeue 12_0"


def test_a_job_that_was_cancelled_before_it_could_ask_is_left(
    program: Program, ended: Judge, tmp_path: Path
) -> None:
    program("scontrol", ASKED)
    (run,) = tmp_path.glob("runs/*/jobs.jsonl")
    store.note(run.parent, "cancel", store.Attempt("12_0", 0), array="sweep.0")
    assert ended() == (0, ["leave"])
    assert not any("requeue" in call for call in calls(tmp_path, "scontrol"))


def test_a_request_that_came_after_the_cancellation_does_not_revive_the_job(
    program: Program, ended: Judge, tmp_path: Path
) -> None:
    (run,) = tmp_path.glob("runs/*/jobs.jsonl")
    line = '{"event": "cancel", "job": "12_0", "restart": 0, "time": 0, "array": "sweep.0"}'
    program("scontrol", f"{ASKED}\ncase \"$*\" in requeue*) echo '{line}' >> {run};; esac")
    program("scancel", "")
    assert ended() == (0, ["requeue"])
    assert calls(tmp_path, "scancel") == ["12_0"]


NODE_FAULT = "Traceback:\nslurm.job.NodeFault: node1 has no GPU\n"
ON_NODE_1 = """case "$*" in
  *hostnames*) echo node1;;
  *show*) echo JobState=RUNNING Restarts=0 ExcNodeList=node2;;
esac
"""


@pytest.fixture
def faulty(ended: Judge, tmp_path: Path) -> Path:
    """The run folder of a cell that node1 could not train."""
    (run,) = tmp_path.glob("runs/*/jobs.jsonl")
    (run.parent / "error-0.txt").write_text(NODE_FAULT)
    (tmp_path / "runs" / "slurm" / "sweep.0" / "submission.sh").touch()
    return run.parent


@pytest.mark.parametrize(
    ("answer", "decided"),
    [
        ("true", (0, ["elsewhere"])),
        (
            "echo 'allocation failure: Requested node configuration is not available' >&2; exit 1",
            (1, ["fail"]),
        ),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", (0, ["elsewhere"])),
    ],
)
def test_slurm_is_asked_if_the_job_fits_on_another_node(
    program: Program, ended: Judge, faulty: Path, tmp_path: Path, answer: str, decided: tuple[int, list[str]]
) -> None:
    program("scontrol", ON_NODE_1)
    program("sbatch", answer)
    assert ended() == decided
    (asked,) = calls(tmp_path, "sbatch")
    assert asked.startswith("--test-only --exclude=node2,node1 ")
    excluded = ["update jobid=12_0 ExcNodeList=node2,node1"] * (decided[0] == 0)
    assert [call for call in calls(tmp_path, "scontrol") if call.startswith("update")] == excluded


def test_a_node_is_excluded_although_slurm_signals_the_job(
    program: Program, faulty: Path, tmp_path: Path
) -> None:
    # As SLURM does: after the request every process of the job gets SIGTERM.
    term = "(sleep 0.5; kill -s TERM -- -$(cat session)) >/dev/null 2>&1 &"
    slow = 'sleep 1; echo "$*" >> done'
    program("scontrol", f'{ON_NODE_1}\ncase "$*" in requeue*) {term} ;; update*) {slow} ;; esac')
    program("sbatch", "true")
    command = [
        sys.executable,
        str(ROOT / "slurm" / "start.py"),
        "after",
        str(faulty.parent / "slurm" / "sweep.0"),
        "1",
    ]
    shell = f"echo $$ > session; trap '' TERM INT USR1 USR2; exec {shlex.join(command)}"
    subprocess.run(["bash", "-c", shell], cwd=tmp_path, start_new_session=True, timeout=60, check=True)
    assert (tmp_path / "done").read_text() == "update jobid=12_0 ExcNodeList=node2,node1\n"
    assert sum(call.startswith("update") for call in calls(tmp_path, "scontrol")) == 1, "nothing cut it short"


def test_a_limit_that_only_the_second_array_meets_says_what_was_submitted(
    program: Program, tmp_path: Path
) -> None:
    for name in ("squeue", "sacct"):
        program(name, "")
    refuse = "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1"
    program("sbatch", f'[ "$n" -lt 4 ] && echo 7 || {{ {refuse}; }}')
    cells = [make_cell(compose([text]), (text,)) for text in ("seed=0", "seed=1")]
    site = Site({"p": Limits(None, 8, 64.0, 8)}, "p", largest_array=1)
    with pytest.raises(
        cluster.SlurmError, match=r"QOSMax.*1 of 2 cells were submitted before that \(job 7\)"
    ):
        submit(cells, tmp_path / "runs", Options(), "sweep", site)
    assert [call.startswith("--test-only") for call in calls(tmp_path, "sbatch")] == [
        True,
        True,
        False,
        False,
    ]
