"""Faults that are not the cell's, all at once on the real cluster: of `setup`, of the program, of the time limit."""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster import Cluster, until
from sweeps import Sweep, job_of, run, submit, usr2

from slurm import status, store

SHORT = ("recipe.steps=24", "recipe.drops=[12]", "hydra.launcher.cpus_per_task=1")
HELD = "hydra.launcher.sbatch=[hold]"
STRICT = "hydra.launcher.setup=['set -euo pipefail','trap true EXIT','srun() { false; }']"
NO_MODULE = "hydra.launcher.setup=['set -e','module load nonsense/9']"


def release(sweep: Sweep) -> None:
    """Let the jobs of a sweep start that were submitted with HELD."""
    for job in {job_of(row).split("_")[0] for row in sweep.rows().values()}:
        sweep.cluster.run("scontrol", "release", job)


def test_what_is_no_fault_of_the_cell(slurm_cluster: Cluster, tmp_path: Path) -> None:
    names = ("strict", "module", "gone", "again", "slow")
    strict, module, gone, again, slow = (Sweep(slurm_cluster, tmp_path / name) for name in names)
    one_cpu = "hydra.launcher.cpus_per_task=1"
    # options, a trap and a function of setup; interrupted once
    assert submit(strict.command("seed=0", one_cpu, STRICT, HELD)) == 1
    strict.hold(0)
    # a module that does not exist, four cells, one after the other
    assert (
        submit(module.command("seed=0,1,2,3", *SHORT, NO_MODULE, "hydra.launcher.array_parallelism=1")) == 4
    )
    # the program disappears before the jobs start
    stop = ("hydra.launcher.stop_after=1", "hydra.launcher.array_parallelism=1")
    assert submit(gone.command("seed=0,1", *SHORT, *stop, HELD)) == 2
    shutil.rmtree(gone.runs / "slurm" / "code")
    # fails for a file that cannot be read, which is mended
    assert submit(again.command("seed=0", *SHORT, HELD)) == 1
    broken = again.runs / again.rows()[0].identity / "last.ckpt"
    broken.parent.mkdir()
    broken.symlink_to("last.ckpt")
    # a call that does not end before the time limit
    assert submit(slow.command("seed=0", one_cpu, "hydra.launcher.signal_seconds=8", HELD)) == 1
    slow.hold(0)
    for sweep in (strict, gone, again, slow):
        release(sweep)

    (row,) = again.until_done({}, 400).values()
    assert row.state == "failed"
    broken.unlink()
    slurm_cluster.run("scontrol", "requeue", job_of(row))

    (row,) = slow.until_done({0: warned_within_a_call}, 400).values()
    assert (row.state, slow.actions(row)) == ("finished", ["requeue", "done"])
    assert row.record.attempts[1]["step"] == slow.left_at[0] > 0
    assert any(line["event"] == "late" for line in store.history(slow.runs / row.identity))

    (row,) = strict.until_done({0: usr2}, 400).values()
    assert (row.state, strict.actions(row)) == ("finished", ["requeue", "done"])

    rows = module.until_done({}, 400)
    assert sorted(row.state for row in rows.values()) == ["cancelled", *["failed"] * 3]
    assert all(words(row, "module: command not found") for row in rows.values() if row.state == "failed")
    assert words(rows[3], "3 cells failed in the same way")

    rows = gone.until_done({}, 400)
    assert {seed: row.state for seed, row in rows.items()} == {0: "failed", 1: "cancelled"}
    assert words(rows[0], "can't open file")
    assert words(rows[1], "Python could not start in 1 job, so")

    (row,) = again.until_done({}, 400).values()
    assert (row.state, again.actions(row)) == ("finished", ["fail", "done"])
    shown = run("-m", "slurm", "status", "--runs", str(module.runs)).stdout
    assert "_0_log.out" in shown, "where the log is"


def words(row: status.SubmittedCell, said: str) -> bool:
    """Whether the reason of a cell's state says this."""
    assert said in row.reason, row
    return True


def warned_within_a_call(sweep: Sweep, row: status.SubmittedCell) -> None:
    """SLURM's warning, while the cell is held in a call; it lasts until the rank has left."""
    usr2(sweep, row)
    until("the end of its first start", lambda: bool(sweep.actions(row)), 200)
