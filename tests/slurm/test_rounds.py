"""A study that is settled on the real cluster with nobody watching, and what can come between."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
from cluster import Cluster, until
from small import ROOT

from ablations.study import Study
from ablations.sweep import manifest
from ablations.sweep.results import factors, results
from ablations.sweep.rounds import Round, Step
from ablations.verdicts.judge import judge_claims
from lightning_module.cell import record
from lightning_module.support.disk import write_json
from lightning_module.support.errors import ConfigError
from slurm import __main__ as commands
from slurm import rounds, settled, status, store
from slurm.listing import Job
from slurm.settled import Progress, Settled

STUDY = """
from ablations.study import Claim, Study, grid

WIDE, NARROW = {"model.width": 8}, {"model.width": 2}
STUDY = Study(
    question="Does width help?",
    source="a test",
    base=(
        *("data=digits", "recipe=quick", "model.depth=8", "recipe.steps=40", "recipe.drops=[]"),
        *("recipe.warm_up=none", "trainer=cpu", "trainer.threads=1", "trainer.progress=false", "logger=none"),
    ),
    cells=grid(model__width=[2, 8], seed=range(4)) + grid(model__width=4, seed=0),
    rows="model.width",
    claims=(
        Claim("8 is better than 2", WIDE, NARROW, below=2, reason="ours"),
        Claim("2 is better than 8", NARROW, WIDE, below=0),
    ),
)
"""
"""Not decided by three seeds, but likely to be by four (16, 26 and 17 points); width 4 is in no claim."""


class Settling:
    """A checkout with the study, and a runs folder for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"
        for room in ("ablations", "conf", "hydra_plugins", "lightning_module", "slurm"):
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "run.py", folder)
        (folder / "ablations" / "tiny.py").write_text(STUDY)

    def start(self, *overrides: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """The command that settles the study."""
        launcher = ("hydra/launcher=slurm", "hydra.launcher.mem=1G", "hydra.launcher.cpus_per_task=1")
        command = [
            sys.executable,
            "run.py",
            "ablation=tiny",
            "settle=true",
            "budget=1h",
            *launcher,
            *overrides,
        ]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            *(command,), cwd=self.folder, env={**os.environ, "PYTHONPATH": "", **(env or {})},
            stdout=pipe, stderr=pipe, text=True,
        )  # fmt: skip

    def run(self, *overrides: str, env: dict[str, str] | None = None) -> str:
        """What that command prints."""
        said, errors = self.start(*overrides, env=env).communicate(timeout=120)
        return said + errors

    def status(self) -> str:
        """The last line of `status`, about the study."""
        return self.command("status", "tiny").splitlines()[-1]

    def command(self, *words: str) -> str:
        """What another command of slurm prints."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            commands.main([*words, "--runs", str(self.runs)])
        return said.getvalue()

    @property
    def decided(self) -> list[dict[str, Any]]:
        """The rounds in the manifest."""
        return list(manifest.read(self.runs / "sweeps" / "tiny.json").rounds)

    def edit(self, old: str, new: str) -> None:
        """Change what decides rounds in the snapshot that the jobs run."""
        (path,) = self.runs.glob("slurm/code/*/slurm/rounds.py")
        text = path.read_text()
        assert text.count(old) == 1
        path.with_suffix(".new").write_text(text.replace(old, new))
        path.with_suffix(".new").replace(path)

    def starts(self) -> dict[str, int]:
        """How often each cell was begun."""
        known = record.read_all(self.runs)
        return {name: len(one.attempts) for name, one in known.items() if one.attempts}


def study(folder: Path) -> Study:
    """The study as its file defines it."""
    spec = importlib.util.spec_from_file_location("tiny", folder / "ablations" / "tiny.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(Study, module.STUDY)


@pytest.fixture(scope="module")
def first(slurm_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Settling:
    """The study, settled: begun by two commands at once, its first controller lost between two steps."""
    settling = Settling(tmp_path_factory.mktemp("first"))
    clients = [settling.start(), settling.start()]
    said = sorted(client.communicate(timeout=120)[0] for client in clients)
    assert said[0].startswith("Round 1: 2 of 2 claims open"), said
    assert said[1].startswith("tiny: round 1 is under way; job "), said
    assert len(store.arrays(settling.runs)) == 1
    line = "        announced(sweep, made, asked.kind)\n"
    name = "asked.controller(1)"
    lost = (
        f"        if made.number == 2 and not (mark := settled.folder(sweep.runs, asked.name) / 'mark').exists():\n"
        f"            mark.touch()\n"
        f"            cluster.call('scontrol', 'requeue', listing.jobs([{name}])[{name}, 0].id)\n"
        f"            os.kill(os.getpid(), 9)\n"
    )
    settling.edit(line, line + lost)
    end = time.monotonic() + 150
    while not settling.decided[-1]["end"]:
        assert time.monotonic() < end, settling.status()
        slurm_cluster.hurry()
        time.sleep(0.5)
    return settling


def test_a_study_settles_with_nobody_watching(first: Settling) -> None:
    one, two, last = first.decided
    assert (len(one["cells"]), len(two["cells"]), last["cells"]) == (6, 2, [])
    assert (first.runs / "slurm" / "tiny.settle" / "mark").exists(), "the controller was lost and came back"
    assert last["end"] == "2 of 2 claims settled"
    assert first.starts() == dict.fromkeys([*one["cells"], *two["cells"]], 1), "each once, and width 4 never"
    known, declared = manifest.read(first.runs / "sweeps" / "tiny.json"), study(first.folder)
    found = results(known, declared, record.read_all(first.runs))
    verdicts = judge_claims(found, factors(known, declared), declared.claims)
    assert [step["word"] for step in last["claims"]] == [verdict.word for verdict in verdicts]
    assert [verdict.word for verdict in verdicts] == ["supported", "contradicted"]


def test_what_is_settled_is_told_and_followed_to_its_end(
    first: Settling,
) -> None:
    assert "tiny: ended after 2 rounds: 2 of 2 claims settled; " in first.status()
    assert first.status().endswith("nothing follows")
    status.follow(first.runs, ["tiny"])  # with exit code 0, though a cell has not run
    logs = (path.read_text() for path in first.runs.glob("slurm/tiny.settle/controller-*.out"))
    log = next(text for text in logs if "Ended" in text)
    assert "8 is better than 2, by at least 2 points: settled; supported after 4 pairs" in log
    assert first.run().startswith("Ended after 2 rounds: 2 of 2 claims settled")
    assert len(store.arrays(first.runs)) == 2


def test_it_goes_on_after_a_lost_client_a_cancellation_and_a_lost_controller(
    first: Settling, slurm_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settling = Settling(tmp_path / "checkout")
    one, two, _ = first.decided
    for name in one["cells"]:
        shutil.copytree(first.runs / name, settling.runs / name)
    known = manifest.read(first.runs / "sweeps" / "tiny.json")
    manifest.write(settling.runs, replace(known, rounds=(one,)))

    deadly = tmp_path / "bin" / "sbatch"
    deadly.parent.mkdir()
    kill = 'case "$*" in *--test-only*) ;; *) kill -9 $PPID ;; esac'
    deadly.write_text(f'#!/bin/sh\n{shutil.which("sbatch")} "$@"\n{kill}\n')
    deadly.chmod(0o755)
    hold = "hydra.launcher.sbatch=[hold]"
    settling.run(hold, env={"PATH": f"{deadly.parent}:{os.environ['PATH']}"})
    assert settling.decided == [one, two], "the same records, the same round"
    (waits,) = re.findall(r"job (\d+) decides the next round when its cells have ended", settling.status())
    assert not store.arrays(settling.runs), "it was lost between the controller and the cells"

    said = settling.run(hold)
    assert said.startswith("Round 2:") and f"job {waits} decides the next round when they have ended" in said
    assert len(store.arrays(settling.runs)) == 1
    assert settling.run(hold).startswith(f"tiny: round 2 is under way; job {waits} ")
    assert "under way with budget=1; to change that, cancel it first" in settling.run("budget=2h")
    assert "decides the next round when its cells have ended" in settling.status()

    assert settling.command("cancel", "tiny").startswith("3 jobs cancelled")
    assert settling.status().endswith("cancelled; the sweep's command goes on")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert rounds.controller(settled.folder(settling.runs, "tiny")) == 0, "one that was to start all the same"
    assert settling.decided == [one, two] and not slurm_cluster.run("squeue", "-h", "--name=tiny").strip()

    assert settling.run().startswith("Round 2:")
    line = "    discover()  # does this node have the commands at all?\n"
    settling.edit(line, f"    os.kill(os.getpid(), 9)\n{line}")
    assert len(store.arrays(settling.runs)) == 2
    until("the controller's end", lambda: "ended as FAILED" in settling.status(), 90)
    assert settling.decided == [one, two]
    said = settling.run()
    assert said.splitlines()[0] == "Ended after 2 rounds: 2 of 2 claims settled"
    assert [step["word"] for step in settling.decided[-1]["claims"]] == ["supported", "contradicted"]


def test_a_cell_that_fails_holds_up_its_claims_until_somebody_asks_again(
    first: Settling, tmp_path: Path
) -> None:
    settling = Settling(tmp_path / "checkout")
    one, _, _ = first.decided
    *finished, bad = one["cells"]
    for name in finished:
        shutil.copytree(first.runs / name, settling.runs / name)
    (settling.runs / bad).mkdir()
    broken = settling.runs / bad / "last.ckpt"
    broken.symlink_to("last.ckpt")  # a file that cannot be read
    client = settling.start("hydra.launcher.wait=true")
    said = client.communicate(timeout=180)[0]
    assert client.returncode == 1, said
    assert said.startswith("Round 1:") and "1 failed" in said
    begun, end = settling.decided
    assert begun["cells"] == [bad] and end["end"] == "0 of 2 claims settled, 2 held up"
    assert "tiny: ended after 1 round: 0 of 2 claims settled, 2 held up; " in said.splitlines()[-1]
    assert len(store.arrays(settling.runs)) == 1

    broken.unlink()
    assert settling.run("hydra.launcher.sbatch=[hold]").startswith("Round 1:")
    assert settling.decided == [begun] and len(store.arrays(settling.runs)) == 2
    assert settling.command("cancel", "--all").startswith("2 jobs cancelled")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "depth"}', "null"])
def test_what_is_damaged_is_as_if_nobody_had_asked(tmp_path: Path, asked: Settled, text: str) -> None:
    file = settled.folder(tmp_path, "depth") / "settle.json"
    file.parent.mkdir(parents=True)
    write_json(file, asdict(asked))
    assert settled.read(tmp_path, "depth") == asked
    for key, value in {"time": "now", "budget": "1h", "options": [], "cells": 1.5, "name": "other"}.items():
        write_json(file, {**asdict(asked), key: value})
        assert settled.read(tmp_path, "depth") is None, key
    file.write_text(text)
    assert settled.read(tmp_path, "depth") is None


@pytest.fixture
def asked() -> Settled:
    """As a command leaves it."""
    return Settled("depth", 100.0, "now", 4, {}, 40.0, "gpu")


def made(number: int, *is_open: str, end: str = "") -> Round:
    """A round of four claims."""
    steps = [Step(name, "undecided", "open", "") for name in is_open]
    done = [Step("done", "supported", "settled", "")] * (4 - len(steps))
    return Round(number, ("a", "b"), (*steps, *done), end=end)


WAITS, RUNS_NOW = Job("17", "depth", 0, "PENDING"), Job("17", "depth", 0, "RUNNING")


@pytest.mark.parametrize(
    ("rounds", "job", "cancelled", "words"),
    [
        (
            [made(1, "A is better")],
            WAITS,
            False,
            ["round 1, 1 of 4 claims open (A is better); 6.0 h used of 40.0 h"],
        ),
        (
            [made(1, *"ABCD")],
            WAITS,
            False,
            ["4 of 4 claims open; 6.0 h", "34.0 h left; job 17 decides the next round"],
        ),
        ([made(1), made(2)], RUNS_NOW, False, ["round 2", "job 17 decides the next round now"]),
        (
            [made(1)],
            Job("17", "depth", 0, "FAILED"),
            False,
            ["no job decides", "job 17 ended as FAILED", "goes on"],
        ),
        ([made(1)], None, False, ["no job decides the next round; the sweep's command goes on"]),
        ([made(1)], WAITS, True, ["cancelled; the sweep's command goes on"]),
        (
            [made(1), made(2, end="4 of 4 claims settled")],
            None,
            False,
            ["ended after 1 round: 4 of 4", "nothing"],
        ),
        ([], None, False, ["depth: no round yet"]),
    ],
)
def test_status_says_where_it_stands(
    tmp_path: Path, asked: Settled, rounds: list[Round], job: Job | None, cancelled: bool, words: list[str]
) -> None:
    jobs = (job,) if job and job.active else ()
    (line,) = settled.lines(
        tmp_path, [Progress(asked, tuple(rounds), 6.0, jobs, job, cancelled, frozenset())]
    )
    assert all(word in line for word in words), line


def test_a_node_without_sbatch_is_said_in_log_and_status(
    tmp_path: Path, asked: Settled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = settled.folder(tmp_path, "depth")
    folder.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert rounds.controller(folder) == 1
    assert capsys.readouterr().out.startswith("slurm: sbatch is not here")
    now = Progress(asked, (made(1),), 0.0, (), None, False, frozenset())
    (line,) = settled.lines(tmp_path, [now])
    assert "no job decides the next round: sbatch is not here" in line and line.endswith(
        "the sweep's command goes on"
    )


def row(name: str, state: str, active: bool = False) -> status.SubmittedCell:
    """A cell of a round."""
    job = Job("3_0", "x", 0, "RUNNING") if active else None
    return status.SubmittedCell(name, name, state, "", record.Record(Path(), {}), job=job)


def submitted(runs: Path, name: str, when: float, *cells: str) -> None:
    """An array of these cells."""
    known = tuple({"identity": cell, "name": cell} for cell in cells)
    (runs / "slurm" / name / "cells").parent.mkdir(parents=True)
    store.write_array(runs / "slurm" / name, store.Array(name, "depth", "s", when, "code", known, {}), [])


def test_a_controller_goes_on_with_what_was_lost_and_a_command_with_everything(
    tmp_path: Path, asked: Settled
) -> None:
    rows = [row("new", "planned"), row("lost", "killed"), row("no", "failed"), row("yes", "finished")]
    assert rounds._left_of(rows, asked, tmp_path, 5, [], retry=False) == {"new", "lost"}
    assert rounds._left_of(rows, asked, tmp_path, 5, [], retry=True) == {"new", "lost", "no"}
    long_ago = [*rows, row("old", "cancelled")]
    submitted(tmp_path, "before", asked.time - 1, "old")
    assert "old" in rounds._left_of(long_ago, asked, tmp_path, 5, [], retry=False), (
        "before anybody settled it"
    )


@pytest.mark.parametrize(
    ("state", "times", "words"), [("cancelled", 1, "was cancelled"), ("killed", 6, "6 times")]
)
def test_what_was_cancelled_or_ends_again_and_again_holds_up_the_round(
    tmp_path: Path, asked: Settled, state: str, times: int, words: str
) -> None:
    for number in range(times):
        submitted(tmp_path, f"array{number}", asked.time + number, "bad")
    rows = [row("bad", state)]
    with pytest.raises(ConfigError, match=words):
        rounds._left_of(rows, asked, tmp_path, 5, [], retry=False)
    assert rounds._left_of(rows, asked, tmp_path, 5, [], retry=True) == {"bad"}
    going = row("going", "running", active=True)
    left = rounds._left_of([*rows, going], asked, tmp_path, 5, [going], retry=False)
    assert left == (set() if state == "cancelled" else {"bad"}), "first the others end"
