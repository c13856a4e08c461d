"""The launcher, its commands and its policies on the real cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cluster import Cluster, until
from mps_stand_in import stand_in
from sweeps import ROOT, Sweep, job_of, metrics, run, submit, usr2

from lightning_module.cell import record
from slurm import store

SHORT = ("recipe.steps=24", "recipe.drops=[12]")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hydra.launcher.partition=bach", "did you mean batch?"),
        ("hydra.launcher.partiton=batch", "did you mean partition?"),
        ("hydra.launcher.constraint=volta", "SLURM would refuse the job"),
        ("trainer.nodes=9", "cannot be shared out"),
    ],
)
def test_bad_input_is_one_sentence_before_any_job(
    slurm_cluster: Cluster, tmp_path: Path, override: str, words: str
) -> None:
    done = run(*Sweep(slurm_cluster, tmp_path / "runs").command("seed=0", override))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert not list(tmp_path.glob("runs/slurm/*/array.json"))
    assert not slurm_cluster.run("squeue", "-h", "--name=seed_0")


def test_without_slurm_it_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    done = run("run.py", "-m", "hydra/launcher=slurm", f"runs={tmp_path}", "seed=0")
    assert done.returncode == 2
    assert "run this on a login node" in done.stderr


def test_one_world_on_one_node_and_on_two(slurm_cluster: Cluster, tmp_path: Path) -> None:
    layouts = {"alone": (1, 1), "one_node": (2, 1), "two_nodes": (1, 2)}
    sweeps = {name: Sweep(slurm_cluster, tmp_path / name) for name in layouts}
    for name, (devices, nodes) in layouts.items():
        size = (f"trainer.devices={devices}", f"trainer.nodes={nodes}", "hydra.launcher.cpus_per_task=1")
        assert submit(sweeps[name].command("seed=0", *SHORT, *size)) == 1
    found = {name: sweep.until_done({}, 180)[0].record for name, sweep in sweeps.items()}
    assert {one.state for one in found.values()} == {"finished"}
    assert [found[name].attempts[0]["devices"] for name in layouts] == [1, 2, 2]
    for name in ("one_node", "two_nodes"):
        for ours, alone in zip(found[name].epochs, found["alone"].epochs, strict=True):
            assert ours["train/loss"] == pytest.approx(alone["train/loss"], rel=1e-4)
    assert metrics(found["one_node"]) == metrics(found["two_nodes"])
    ranks = store.history(tmp_path / "two_nodes" / found["two_nodes"].folder.name)
    assert ranks[0]["nodes"].count("node") == 1 and "[" in ranks[0]["nodes"]


def test_cells_that_share_a_job_are_what_they_are_alone(slurm_cluster: Cluster, tmp_path: Path) -> None:
    """One of two fails, the job is interrupted and comes back for the other; the third has a job of its own."""
    shared, alone = (Sweep(slurm_cluster, tmp_path / name) for name in ("shared", "alone"))
    one_cpu = "hydra.launcher.cpus_per_task=1"
    packed = (one_cpu, "hydra.launcher.cells_per_device=2", "hydra.launcher.sbatch=[hold]")
    assert submit(shared.command("seed=0,1,2", *packed)) == 3
    rows = shared.rows()
    assert [job_of(rows[seed]).split("_")[1] for seed in range(3)] == ["0", "0", "1"]
    broken = shared.runs / rows[1].identity
    broken.mkdir()
    (broken / "last.ckpt").symlink_to("last.ckpt")  # a file that cannot be read
    shared.hold(0)
    slurm_cluster.run("scontrol", "release", job_of(rows[0]).split("_")[0])
    assert submit(alone.command("seed=0", one_cpu)) == 1

    rows, reference = shared.until_done({0: usr2}, 240), alone.until_done({}, 120)[0]
    assert {seed: row.state for seed, row in rows.items()} == {0: "finished", 1: "failed", 2: "finished"}
    assert shared.actions(rows[0]) == ["requeue", "done"]
    assert shared.actions(rows[1]) == ["fail"], "the job that comes back leaves it alone"
    assert shared.starts(rows[1]) == 1
    assert rows[0].record.attempts[1]["step"] > 0
    assert metrics(rows[0].record) == metrics(reference.record)
    assert [row.job and row.job.state for _, row in sorted(rows.items())] == ["FAILED", "FAILED", "COMPLETED"]
    logs = run("-m", "slurm", "logs", "ResNet-8 seed 1", "--runs", str(shared.runs), "--no-follow").stdout
    assert "Too many levels of symbolic links" in logs


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc, for a stand-in of NVIDIA's driver")
def test_cells_that_share_a_gpu_share_a_server_that_ends_with_their_job(
    slurm_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is told to stop, and comes back with a server of its own; the cells train on the CPU beside it."""
    stand = stand_in(tmp_path / "bin")
    for name, text in stand.environment.items():
        monkeypatch.setenv(name, text)
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    gpu = (
        "hydra.launcher.gpus_per_node=1",
        "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.cells_per_device=2",
    )
    assert submit(sweep.command("seed=0,1", *gpu, "hydra.launcher.sbatch=[hold]")) == 2
    sweep.hold(0)
    slurm_cluster.run("scontrol", "release", job_of(sweep.rows()[0]).split("_")[0])
    rows = sweep.until_done({0: usr2}, 240)
    assert {row.state for row in rows.values()} == {"finished"}
    until("end of the second server", lambda: len(stand.asked()) == 4, 30)
    assert [question[0] for question in stand.asked()] == ["start", "quit", "start", "quit"]
    assert {question[1] for question in stand.asked()[::2]} <= {"GPU-0", "GPU-1"}
    folders = [question[-1] for question in stand.asked()]
    assert folders[0] == folders[1] != folders[2] == folders[3]
    assert not any(Path(folder).exists() for folder in folders)


def test_what_was_submitted_is_what_runs(slurm_cluster: Cluster, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for room in ("ablations", "conf", "hydra_plugins", "lightning_module", "slurm"):
        shutil.copytree(ROOT / room, checkout / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", checkout)
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    # Large enough to have work for more threads than it is given.
    wide = ("model.width=64", "recipe.batch_size=128", "hydra.launcher.cpus_per_task=1")
    command = [sys.executable, *sweep.command("seed=0", *SHORT, *wide, "hydra.launcher.sbatch=[hold]")]
    subprocess.run(
        command, cwd=checkout, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": ""}
    )
    (checkout / "lightning_module" / "train.py").write_text("raise SystemExit('the edited checkout')\n")
    (checkout / "conf" / "recipe" / "quick.yaml").write_text("broken")
    job = job_of(sweep.rows()[0])
    slurm_cluster.run("scontrol", "release", job)
    row = sweep.until_done({}, 120)[0]
    assert (row.state, row.record.last["step"]) == ("finished", 24)
    assert row.record.attempts[0]["hardware"].endswith(" 1 threads")
    logs = run("-m", "slurm", "logs", row.name, "--runs", str(sweep.runs))
    assert "done: finished" in logs.stdout


def test_the_same_failure_stops_the_sweep_and_retry_goes_on(
    slurm_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    policy = ("hydra.launcher.stop_after=2", "hydra.launcher.array_parallelism=1")
    assert submit(sweep.command("seed=0,1,2,3", *SHORT, *policy, "hydra.launcher.sbatch=[hold]")) == 4
    for row in sweep.rows().values():
        folder = sweep.runs / row.identity
        folder.mkdir()
        (folder / "last.ckpt").symlink_to("last.ckpt")
    array = job_of(sweep.rows()[0]).split("_")[0]
    slurm_cluster.run("scontrol", "release", array)
    rows = sweep.until_done({}, 180)
    assert sorted(row.state for row in rows.values()) == ["cancelled", "cancelled", "failed", "failed"]
    assert all("failed in the same way" in row.reason for row in rows.values() if row.state == "cancelled")

    for row in rows.values():
        (sweep.runs / row.identity / "last.ckpt").unlink()
    monkeypatch.setenv("SBATCH_TIMELIMIT", "1")
    changes = ("array_parallelism=4", "sbatch=[]", 'setup=["export A=1", "echo A is $A"]', "wait=true")
    words = [word for change in changes for word in ("--set", change)]
    done = run("-m", "slurm", "retry", "--runs", str(sweep.runs), *words, seconds=240)
    assert done.returncode == 0, done.stderr
    assert "4 finished" in done.stdout
    assert done.stdout.count("SBATCH_TIMELIMIT=1 of your shell does not count") == 1
    logs = run("-m", "slurm", "logs", "ResNet-8 seed 0", "--runs", str(sweep.runs), "--no-follow").stdout
    assert "A is 1" in logs


def test_a_node_that_cannot_train_is_left_for_another(slurm_cluster: Cluster, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here, so no node lacks one")
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    assert submit(sweep.command("seed=0", *SHORT, "trainer.accelerator=gpu")) == 1
    row = sweep.until_done({}, 240)[0]
    assert row.state == "failed", row
    assert "the same on 3 nodes" in row.reason
    history = store.history(sweep.runs / row.identity)
    assert sweep.actions(row) == ["elsewhere", "elsewhere", "fail"]
    assert len({line["nodes"] for line in history if line["event"] == "start"}) == 3
    assert record.read(sweep.runs / row.identity).state == "failed"


def test_a_node_that_cannot_train_and_has_no_neighbour_fails_the_cell(
    slurm_cluster: Cluster, tmp_path: Path
) -> None:
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    setup = 'hydra.launcher.setup=["export CUDA_VISIBLE_DEVICES="]'
    small = ("trainer.accelerator=gpu", "hydra.launcher.partition=small", setup)
    assert submit(sweep.command("seed=0", *SHORT, *small)) == 1
    row = sweep.until_done({}, 120)[0]
    assert (row.state, sweep.actions(row)) == ("failed", ["fail"])
    assert "no GPU that PyTorch" in row.reason
    assert "no other node" in row.reason


def test_a_client_that_is_killed_while_it_submits_leaves_nothing_that_nobody_knows(
    slurm_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    command = sweep.command("seed=0,1", "hydra.launcher.sbatch=[hold]")
    deadly = tmp_path / "sbatch"
    kill = 'case "$*" in *--test-only*) ;; *) kill -9 $PPID ;; esac'
    deadly.write_text(f'#!/bin/sh\n{shutil.which("sbatch")} "$@"\n{kill}\n')
    deadly.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert run(*command).returncode == -9
    assert len(list(sweep.runs.glob("sweeps/*.json"))) == 1, "reports know what was asked for"
    assert [row.state for row in sweep.rows().values()] == ["queued", "queued"]
    assert submit(command) == 0
    assert "2 jobs cancelled" in run("-m", "slurm", "cancel", "--all", "--runs", str(sweep.runs)).stdout
    assert [row.state for row in sweep.rows().values()] == ["cancelled", "cancelled"]


def test_out_of_memory_is_said_as_such_and_not_tried_again(slurm_cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    limit = ("hydra.launcher.setup=[ulimit -v 4000000]", "hydra.launcher.cpus_per_task=1")
    assert submit(sweep.command("seed=0", "model.width=4000", *limit)) == 1
    row = sweep.until_done({}, 120)[0]
    assert (row.state, sweep.starts(row)) == ("failed", 1)
    assert row.job and row.job.state == "FAILED"
    shown = run("-m", "slurm", "status", "--runs", str(sweep.runs)).stdout
    assert "out of memory: raise hydra.launcher.mem" in shown
    assert "can't allocate memory" in shown, "the traceback"


def test_a_terminal_sees_the_table_change(slurm_cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    assert submit(sweep.command("seed=0,1", "hydra.launcher.sbatch=[hold]")) == 2
    where = ("--runs", str(sweep.runs))
    terminal, end = os.openpty()
    watch = subprocess.Popen(
        [sys.executable, "-m", "slurm", "status", "--watch", *where], cwd=ROOT, stdout=end, stderr=end
    )
    os.close(end)
    text = ""
    while "2 cells: 2 queued" not in text:
        text += os.read(terminal, 1000).decode()
    assert "2 jobs cancelled" in run("-m", "slurm", "cancel", "--all", *where).stdout
    with contextlib.suppress(OSError):  # so a terminal tells that nobody writes to it any more
        while part := os.read(terminal, 1000):
            text += part.decode()
    os.close(terminal)
    assert watch.wait(30) == 1, "cells without a result"
    assert "2 cells: 2 cancelled" in text


def test_cancel_and_words_that_name_nothing(slurm_cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    assert submit(sweep.command("seed=0,1", "hydra.launcher.sbatch=[hold]")) == 2
    where = ("--runs", str(sweep.runs))
    wrong = run("-m", "slurm", "cancel", "ResNet-8 sed 1", *where)
    assert wrong.returncode == 2
    assert "did you mean ResNet-8 seed" in wrong.stderr
    assert "1 job cancelled" in run("-m", "slurm", "cancel", "ResNet-8 seed 1", *where).stdout
    assert [row.state for _, row in sorted(sweep.rows().items())] == ["queued", "cancelled"]
    assert "1 job cancelled" in run("-m", "slurm", "cancel", "--all", *where).stdout
    assert run("-m", "slurm", "status", "--runs", str(tmp_path / "none")).returncode == 2
