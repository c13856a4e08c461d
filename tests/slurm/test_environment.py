"""Variables of the shell that submits: what is asked for is what runs, and a site's profile counts where it may."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cluster import Cluster
from sweeps import Sweep, job_of, run

from slurm import cluster
from slurm.options import Options
from slurm.shell import with_shell


def test_variables_of_sbatch_stand_in_for_keys_that_say_nothing_or_do_not_count() -> None:
    given = {
        "SBATCH_ACCOUNT": "lab",
        "SBATCH_EXPORT": "NONE",
        "SBATCH_PARTITION": "gpu",
        "SBATCH_QOS": "",
        "SBATCH_RESERVATION": "maint",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_JOB_NAME": "mine",
        "SBATCH_EXCLUSIVE": "user",
        "SLURM_CLUSTERS": "other",
    }
    options, said = with_shell(Options(partition="batch", sbatch=("reservation=mine",)), given)
    assert (options.account, options.partition, options.qos) == ("lab", "batch", None)
    assert options.sbatch == ("reservation=mine", "export=NONE")
    assert said == [
        "SBATCH_ACCOUNT=lab of your shell counts: hydra.launcher says nothing of account",
        "SBATCH_EXCLUSIVE=user of your shell does not count: hydra.launcher.sbatch has other options of sbatch",
        "SBATCH_EXPORT=NONE of your shell counts: hydra.launcher says nothing of export",
        "SBATCH_JOB_NAME=mine of your shell does not count: the launcher sets job-name itself",
        "SBATCH_PARTITION=gpu of your shell does not count: hydra.launcher says partition=batch",
        "SBATCH_RESERVATION=maint of your shell does not count: hydra.launcher says reservation=mine",
        "SBATCH_TIMELIMIT=1 of your shell does not count: the launcher sets time itself; see hydra.launcher.time",
    ]
    assert with_shell(options, {}) == (options, [])
    assert with_shell(options, {"SBATCH_ACCOUNT": "lab"}) == (options, []), "a retry"


def test_slurm_s_commands_get_no_variable_that_changes_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SBATCH_HOLD",
        "SQUEUE_FORMAT",
        "SLURM_JOB_ID",
        "SLURM_TIME_FORMAT",
        "SINFO_ALL",
        "SLURM_CONF",
    ):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SLURMISH", "x")
    own = {name for name, value in cluster.environment().items() if value == "x"}
    assert own == {"SLURM_CONF", "SLURMISH"}


def test_what_is_asked_for_is_what_runs_and_what_setup_exports_reaches_the_ranks(
    slurm_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = {
        "SBATCH_EXPORT": "SRUN_EXPORT_ENV=NONE",  # which a node's profile may say too
        "SBATCH_JOB_NAME": "mine",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_WCKEY": "other",
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "SUSPENDED",
        "SLURM_CLUSTERS": "elsewhere",
        "MASTER_ADDR": "left.over.invalid",
    }
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$PROOF" > {tmp_path}/rank-$SLURM_PROCID\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    done = run(
        *sweep.command("seed=0", "recipe.steps=24", "recipe.drops=[12]", "trainer.nodes=2"),
        *("hydra.launcher.cpus_per_task=1", f"hydra.launcher.python={python}"),
        'hydra.launcher.setup=["export PROOF=there"]',
    )
    assert done.returncode == 0, done.stderr
    assert "SBATCH_EXPORT=SRUN_EXPORT_ENV=NONE of your shell counts" in done.stdout
    assert "SBATCH_TIMELIMIT=1 of your shell does not count" in done.stdout
    for name in shell:
        monkeypatch.delenv(name)
    row = sweep.until_done({}, 240)[0]
    assert row.state == "finished", row
    assert (tmp_path / "rank-1").read_text() == "there\n"
    columns = "JobName%100,Timelimit,WCKey"
    (found,) = slurm_cluster.run("sacct", "-X", "-P", "-n", "-j", job_of(row), "-o", columns).splitlines()
    assert row.array
    assert found.split("|") == [row.array.name, "00:15:00", "other"]
