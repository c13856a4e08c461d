"""Two people over one runs folder: what one has queued the other sees, does not submit, and cannot cancel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, until
from sweeps import ROOT, Sweep, job_of, run

Command = Callable[..., subprocess.CompletedProcess[str]]
NOBODY = ("--reuid=nobody", "--regid=nogroup", "--clear-groups")
MAY_READ = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""Python and this project may lie in root's home."""


@pytest.fixture
def shared(slurm_cluster: Cluster, tmp_path: Path) -> Iterator[Sweep]:
    """A runs folder that the group may write, as clusters.md says."""
    runs = tmp_path / "runs"
    runs.mkdir()
    os.chown(runs, -1, 65534)
    runs.chmod(0o2775)
    before = os.umask(0o002)
    try:
        yield Sweep(slurm_cluster, runs)
    finally:
        os.umask(before)


@pytest.fixture
def as_nobody(tmp_path: Path) -> Command:
    """A command of the program by nobody."""
    (tmp_path / "home").mkdir(mode=0o777)
    (tmp_path / "home").chmod(0o777)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["setpriv", *NOBODY, *MAY_READ, sys.executable, *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
            env={**os.environ, "HOME": str(tmp_path / "home")},
        )  # fmt: skip

    return call


def test_what_one_has_queued_the_other_leaves_alone(
    shared: Sweep, as_nobody: Command, slurm_cluster: Cluster
) -> None:
    where, hold = ("--runs", str(shared.runs)), "hydra.launcher.sbatch=[hold]"
    first, second = (shared.command(seed, hold) for seed in ("seed=0", "seed=1"))
    assert "1 submitted" in run(*first).stdout
    theirs = as_nobody(*second)
    assert "1 submitted" in theirs.stdout, theirs.stderr

    seen = as_nobody("-m", "slurm", "status", *where).stdout.splitlines()
    assert "queued" in seen[1] and "by root" in seen[1]
    assert "queued" in seen[2] and "by nobody" not in seen[2]
    assert [row.reason.partition(";")[0] for row in shared.rows().values()] == ["JobHeldUser", "by nobody"]
    for again, owner in ((as_nobody(*first), "root"), (run(*second), "nobody")):
        assert "1 queued or running, 0 submitted" in again.stdout, again.stderr
        assert f", by {owner}\n" in again.stdout

    refused = as_nobody("-m", "slurm", "cancel", "ResNet-8 seed 0", *where)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "SLURM lets you cancel no jobs of root" in refused.stderr
    rows = shared.rows()
    assert [row.state for row in rows.values()] == ["queued", "queued"]

    # Where SLURM hides the jobs of others, that it tells of none means nothing.
    configuration = slurm_cluster.root / "etc/slurm.conf"
    text = configuration.read_text()
    try:
        configuration.write_text(text + "PrivateData=jobs\n")
        slurm_cluster.run("scontrol", "reconfigure")
        until(
            "hidden jobs",
            lambda: not slurm_cluster.run("setpriv", *NOBODY, "squeue", "-h", "--user=root"),
            30,
        )
        hidden = as_nobody("-m", "slurm", "status", *where).stdout
        assert "submitted by root; SLURM shows you no jobs of others" in hidden
        assert "cancelled" not in hidden
        assert "1 queued or running, 0 submitted" in as_nobody(*first).stdout
        refused = as_nobody("-m", "slurm", "cancel", "ResNet-8 seed 0", *where)
        assert (refused.returncode, refused.stdout) == (2, "0 jobs cancelled\n")
        assert "ResNet-8 seed 0 is not cancelled: submitted by root; SLURM shows you no" in refused.stderr
        again = as_nobody("-m", "slurm", "retry", "ResNet-8 seed 0", *where)
        assert again.stdout.startswith("job "), again.stderr
    finally:
        configuration.write_text(text)
        slurm_cluster.run("scontrol", "reconfigure")
    assert (
        "2 jobs cancelled"
        in run("-m", "slurm", "cancel", "ResNet-8 seed 1", "ResNet-8 seed 0", *where).stdout
    )
    slurm_cluster.run("scancel", job_of(rows[0]))
