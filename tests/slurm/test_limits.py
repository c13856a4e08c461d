"""Sites that let a user have few jobs, and what waits until there is a place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, until
from sweeps import Sweep, job_of, run
from test_rounds import Settling

from slurm import status, store

SHORT = ("recipe.steps=24", "recipe.drops=[12]", "hydra.launcher.cpus_per_task=1")


@pytest.fixture
def limited(slurm_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster where root may have three jobs."""
    slurm_cluster.limit(3)
    try:
        yield slurm_cluster
    finally:
        slurm_cluster.run("scancel", "--user=root")
        slurm_cluster.limit(-1)


def preempt_by_a_colleague(sweep: Sweep, row: status.SubmittedCell) -> None:
    """A job of somebody else, with limits of their own, takes the node."""
    assert row.job
    options = ("--partition=high", "--exclusive", "--mem=100M", "--output=/dev/null", "--chdir=/")
    who = ("--uid=nobody", "--gid=nogroup", f"--nodelist={row.job.node}")
    sweep.cluster.run("sbatch", *options, *who, "--wrap", "true")
    show = ("scontrol", "-o", "show", "job", job_of(row))
    until(
        "the preemption",
        lambda: not re.search("JobState=RUNNING .*PreemptTime=None", sweep.cluster.run(*show)),
        60,
    )


def test_a_sweep_feeds_itself_through_a_limit_past_a_preemption_and_a_faulty_node(
    limited: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    sweep = Sweep(limited, tmp_path / "runs")
    two_ranks = ("trainer.devices=2", "hydra.launcher.cpus_per_task=2")
    done = run(*sweep.command("seed=0,1,2,3,4,5", *two_ranks, "hydra.launcher.feed=true"))
    assert "3 submitted, 3 waiting for a place\n" in done.stdout, done.stderr
    sweep.hold(0)
    (path,) = sweep.runs.glob("slurm/code/*/slurm/job.py")
    line = "def _train(cell: Cell, interruption: Interruption, shared: bool) -> None:\n"
    # Once, so that cells that come later lose no time there.
    fault = (
        "    mark = Path(cell.config['runs']) / 'faulty'\n"
        "    if socket.gethostname() == 'node2' and not mark.exists():\n"
        "        mark.touch()\n"
        "        raise NodeFault('node2 has no GPU')\n"
    )
    path.with_suffix(".new").write_text(path.read_text().replace(line, line + fault))
    path.with_suffix(".new").replace(path)

    rows = sweep.until_done({0: preempt_by_a_colleague}, 600)
    assert {row.state for row in rows.values()} == {"finished"}
    assert len(rows) == 6
    assert sweep.starts(rows[0]) >= 2, "it was preempted"
    ends = [
        line for row in rows.values() for line in store.history(row.record.folder) if line["event"] == "end"
    ]
    assert {line["unfit"] for line in ends if "unfit" in line} == {"node2"}
    arrays = store.arrays(sweep.runs)
    assert len({array.submission for array in arrays}) == 1
    assert sorted(cell["name"] for array in arrays for cell in array.cells) == sorted(
        row.name for row in rows.values()
    ), "nothing was submitted twice"
    assert not list(sweep.runs.glob("slurm/waiting/*.json"))


def test_what_waits_is_seen_asked_for_again_and_cancelled(limited: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(limited, tmp_path / "my runs")
    command = sweep.command("seed=0,1,2,3,4", *SHORT, "hydra.launcher.sbatch=[hold]")
    where = ("--runs", str(sweep.runs))
    said = run(*command).stdout
    assert "3 submitted, 2 waiting for a place\n" in said
    assert "2 cells wait for a place (AssocMaxSubmitJobLimit): the same command submits them" in said
    assert f"--runs '{sweep.runs}'" in said, "what is printed can be pasted"
    comments = limited.run("squeue", "-h", "-o", "%k", "--sort=i").splitlines()
    assert comments == ["ResNet-8 seed 0 ... ResNet-8 seed 2"]
    again = run(*command).stdout
    assert "3 queued or running, 0 submitted, 2 waiting for a place\n" in again
    full = Sweep(limited, tmp_path / "other").command("seed=9", *SHORT)
    refused = run(*full)
    assert refused.returncode == 2
    error = "error: 1 cell waits for a place (AssocMaxSubmitJobLimit): run the same again"
    assert refused.stderr.splitlines()[-1].startswith(error)
    assert "3 queued, 2 waiting" in run("-m", "slurm", "status", *where).stdout
    said = run("-m", "slurm", "cancel", "--all", *where).stdout
    assert "2 cells that waited for a place will not be submitted\n3 jobs cancelled" in said
    assert "5 cancelled" in run("-m", "slurm", "status", *where).stdout
    assert "job " in run("-m", "slurm", "retry", "ResNet-8 seed 4", *where).stdout
    assert "4 cancelled" in run("-m", "slurm", "status", *where).stdout
    run("-m", "slurm", "cancel", "--all", *where)


def test_a_client_that_waits_submits_what_waits(limited: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(limited, tmp_path / "runs")
    done = run(*sweep.command("seed=0,1,2,3", *SHORT, "hydra.launcher.wait=true"), seconds=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 submitted, 1 waiting for a place\n" in done.stdout
    assert "4 cells: 4 finished" in done.stdout


def test_a_settled_sweep_has_a_place_for_its_controller(limited: Cluster, tmp_path: Path) -> None:
    settling = Settling(tmp_path)
    said = settling.run()
    assert "4 cells wait for a place (AssocMaxSubmitJobLimit): job 1 submits them" in re.sub(
        r"job \d+", "job 1", said
    )
    jobs = limited.run("squeue", "-h", "-r", "-o", "%j %E", "--sort=i").splitlines()
    assert ["settle" in job for job in jobs] == [True, False, False], jobs
    assert "afterany" in jobs[0]
    try:
        until("cells of the next controller", lambda: len(settling.starts()) > 2, 240)
    finally:
        settling.command("cancel", "--all")
    assert "cancelled" in settling.status()
