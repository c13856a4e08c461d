"""What a rank does about calls that are longer than SLURM's warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT

from ablations.sweep.compose import compose, make_cell
from slurm import store
from slurm.store import Attempt
from slurm.watchdog import LATE, Calls, warnings

RANK = """
import hashlib, pathlib, signal, sys, time
from slurm.store import CHECKPOINT, Attempt
from slurm.watchdog import Watchdog
signal.signal(signal.SIGUSR2, lambda *_: None)
run, saves = pathlib.Path(sys.argv[1]), sys.argv[2] == "saves"
looks = [1]
with Watchdog(lambda: looks[0], 2, run, Attempt("7_0", 0), warned=False, tells=True):
    if saves:
        (run / CHECKPOINT).touch()
    print("calls", flush=True)
    if sys.argv[3] == "endless":  # in C, so that no handler runs
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    time.sleep(4)
    looks[0] += 1
"""


def rank(run: Path, saves: str, warned: bool, call: str = "short") -> tuple[int, list[str], str]:
    """A rank with a long call -> (exit code, events that it noted, what it said)."""
    process = subprocess.Popen(
        [sys.executable, "-c", RANK, str(run), saves, call], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "calls\n"
    if warned:
        process.send_signal(12)  # USR2
    said = process.communicate(timeout=60)[0]
    return process.returncode, [line["event"] for line in store.history(run)], said


def test_a_call_that_misses_the_warning_is_left_before_the_limit(tmp_path: Path) -> None:
    code, events, said = rank(tmp_path, "saves", warned=True, call="endless")
    assert (code, events[-1]) == (LATE, "late")
    assert "did not end before the time limit" in said


@pytest.mark.parametrize(("saves", "warned"), [("saves", False), ("nothing", True)])
def test_a_call_is_not_left_without_need_or_without_a_checkpoint(
    tmp_path: Path, saves: str, warned: bool
) -> None:
    code, events, said = rank(tmp_path, saves, warned)
    assert (code, events) == (0, ["call", "call"])
    assert "longer than hydra.launcher.signal_seconds=2" in said


def test_neither_a_slow_start_nor_a_suspended_job_is_a_long_call() -> None:
    calls = Calls()
    for seconds in (1.0, 500.0):
        calls.tick(0, seconds)
    assert calls.longest == 0
    calls.tick(1, 1.0)
    calls.tick(1, 3000.0)
    assert calls.longest <= 2
    for _ in range(10):
        calls.tick(1, 1.0)
    calls.tick(2, 1.0)
    assert (calls.now, round(calls.longest)) == (0.0, 12)


def test_a_submission_says_which_cells_have_longer_calls(tmp_path: Path) -> None:
    cells = [make_cell(compose([text]), (text,)) for text in ("seed=0", "seed=1")]
    for cell, seconds in zip(cells, (140.0, 3.0), strict=True):
        (tmp_path / cell.identity).mkdir()
        store.note(tmp_path / cell.identity, "call", Attempt("7_0", 0), seconds=seconds)
    (line,) = warnings(cells, tmp_path, 120)
    assert "seed 0: a call took 140 s" in line
    assert "raise signal_seconds above 170" in line
    assert not warnings(cells, tmp_path, 200)
