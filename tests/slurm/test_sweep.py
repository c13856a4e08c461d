"""Two sweeps of cells of 2 ranks each, on 4 nodes, under everything that happens on a cluster.

At the end all their metrics are equal to the last bit to those of cells that nobody disturbed, off the cluster.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from cluster import Cluster, free_ports, until
from command_server import server
from sweeps import (
    ROOT,
    TINY,
    Sweep,
    bug,
    cancel,
    cancel_by_command,
    cancel_while_it_hangs,
    counted_calls,
    epochs_written,
    metrics,
    node_crashes,
    preempt_by_term,
    rank_dies,
    requeue,
    run,
    signal_after_the_end,
    signal_at_start,
    slurmd_dies,
    submit,
    submitted,
    time_limit,
    usr1_with_a_slow_rank,
    usr2,
    usr2_to_batch,
)

from ablations.sweep.compose import compose, make_cell
from lightning_module.cell import record
from slurm import status, store

TWO_RANKS = ("trainer.devices=2", "hydra.launcher.cpus_per_task=2")
DIVERGES = ("seed=11", "recipe.learning_rate=1e30", "recipe.warm_up=none")
SEEDS = "seed=0,1,2,3,4,5,6"
FINISHED = dict.fromkeys(range(7), "finished") | {11: "diverged"}


def states(rows: dict[int, status.SubmittedCell]) -> dict[int, str]:
    """seed -> state."""
    return {seed: row.state for seed, row in sorted(rows.items())}


def resumed_at(row: status.SubmittedCell) -> list[int]:
    """Steps at which the later attempts of a cell began."""
    return [attempt["step"] for attempt in row.record.attempts[1:]]


def assert_nothing_was_repeated(row: status.SubmittedCell) -> None:
    """Of a cell that was asked to leave, and so had the time to save."""
    written = epochs_written(row.record)
    assert written == sorted(set(written)), f"{row.name} trained a step twice"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, record.Record]:
    """Identity -> record of each cell that has a result in one of the sweeps, of ranks that are forked here."""
    runs = tmp_path_factory.mktemp("undisturbed")
    for own in [*((f"seed={seed}",) for seed in range(7)), DIVERGES]:
        texts = (*TINY, f"runs={runs}", "trainer.devices=2", *own)
        make_cell(compose(texts), texts).write(runs / "cell.json")
        port = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(*free_ports(1)), "WORLD_SIZE": "2"}
        ranks = [
            server().start(
                *("-m", "lightning_module.fit", str(runs / "cell.json")),
                env={**os.environ, **port, "RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0"},
            )
            for rank in "01"
        ]
        for rank in ranks:
            _, error = rank.communicate(120)
            assert rank.returncode == 0, error
    return record.read_all(runs)


def assert_nothing_was_changed(
    rows: Iterable[status.SubmittedCell], undisturbed: Mapping[str, record.Record]
) -> None:
    """Of cells that have their results."""
    for row in rows:
        assert metrics(row.record) == metrics(undisturbed[row.identity]), row.name


def test_nothing_is_lost(
    slurm_cluster: Cluster, tmp_path: Path, undisturbed: Mapping[str, record.Record]
) -> None:
    """With accounting, and a client that is killed."""
    sweep = Sweep(slurm_cluster, tmp_path / "runs")
    everything = sweep.command(SEEDS, *TWO_RANKS)
    client = subprocess.Popen(
        [sys.executable, "-u", *everything, "hydra.launcher.wait=true"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout
    assert submitted(client.stdout.readline()) == 7
    client.send_signal(signal.SIGKILL)
    client.wait()
    sweep.hold(0, 1, 2, 3, 6)
    assert submit(sweep.command(*DIVERGES, *TWO_RANKS)) == 1

    troubles = {0: preempt_by_term, 1: usr2, 2: requeue, 3: node_crashes, 6: cancel}
    with bug(sweep.runs, seed=4):
        rows = sweep.until_done(troubles, 600)
    assert states(rows) == {**FINISHED, 4: "failed", 6: "cancelled"}
    assert "ZeroDivisionError" in rows[4].record.status["traceback"]
    assert rows[4].job and rows[4].job.state == "FAILED"
    assert rows[0].job and rows[0].job.state == "COMPLETED"
    assert rows[11].job and rows[11].job.state == "COMPLETED"
    for seed in range(4):
        assert sweep.starts(rows[seed]) == 2, f"seed {seed} was requeued once"
        assert resumed_at(rows[seed]) == [sweep.left_at[seed]], f"seed {seed}"
        assert sweep.left_at[seed] > 0
    for seed in (0, 1):
        assert_nothing_was_repeated(rows[seed])
    assert sweep.actions(rows[0]) == sweep.actions(rows[1]) == ["requeue", "done"]
    for seed in (4, 5):
        assert sweep.starts(rows[seed]) == 1, f"seed {seed}"

    with counted_calls(tmp_path) as calls:
        shown = run("-m", "slurm", "status", "--runs", str(sweep.runs))
    assert calls.read_text().split() == ["squeue", "sacct"]
    assert "5 finished" in shown.stdout
    assert "ZeroDivisionError: division by zero" in shown.stdout

    followed = run(*everything, "hydra.launcher.wait=true", seconds=240)
    assert submitted(followed.stdout) == 2
    assert followed.returncode == 0, followed.stdout
    assert "7 cells: 7 finished" in followed.stdout
    assert states(sweep.rows()) == FINISHED
    assert resumed_at(sweep.rows()[4])[0] > 0, "what failed goes on from its checkpoint"
    assert submit(everything) == 0
    assert submit(sweep.command(*DIVERGES, *TWO_RANKS)) == 0, "a result is not tried again"
    sizes = [len(array.cells) for array in store.arrays(sweep.runs)]
    assert sizes == [6, 1, 1, 2], "split at MaxArraySize, one that diverges, what was left"
    assert_nothing_was_changed(sweep.rows().values(), undisturbed)


def test_nothing_is_lost_without_accounting(
    bare_cluster: Cluster, tmp_path: Path, undisturbed: Mapping[str, record.Record]
) -> None:
    sweep = Sweep(bare_cluster, tmp_path / "runs")
    assert submit(sweep.command(SEEDS.replace("=", "=12,13,"), *TWO_RANKS)) == 9
    sweep.hold(0, 1, 3, 4, 5, 6, 12, 13)
    assert submit(sweep.command(*DIVERGES, *TWO_RANKS)) == 1
    troubles = {
        0: signal_at_start,
        1: usr1_with_a_slow_rank,
        2: signal_after_the_end,
        3: slurmd_dies,
        4: rank_dies,
        5: time_limit,
        6: usr2_to_batch,
        12: cancel_by_command,
        13: cancel_while_it_hangs,
    }
    rows = sweep.until_done(troubles, 600)
    until("SLURM forgets", lambda: not any(sweep.rows()[seed].job for seed in (12, 13)), 90)
    assert states(sweep.rows()) == FINISHED | {12: "cancelled", 13: "cancelled"}
    with counted_calls(tmp_path) as calls:
        assert (
            "2 cancelled, 1 diverged, 7 finished"
            in run("-m", "slurm", "status", "--runs", str(sweep.runs)).stdout
        )
    assert calls.read_text().split() == ["squeue", "sacct"]
    for seed, starts in {1: 2, 2: 1, 3: 2, 4: 2, 5: 2, 6: 2, 11: 1}.items():
        assert sweep.starts(rows[seed]) == starts, f"seed {seed}"
    for seed in (0, 1, 4, 5, 6):
        assert sweep.actions(rows[seed]) == ["requeue", "done"], f"seed {seed}"
    for seed in (1, 4, 5, 6):
        assert resumed_at(rows[seed]) == [sweep.left_at[seed]], f"seed {seed}"
        assert sweep.left_at[seed] > 0
    # The ranks of a lost node save once more when they wake up.
    assert resumed_at(rows[3])[0] >= sweep.left_at[3] > 0
    for seed in (0, 1, 5, 6):
        assert_nothing_was_repeated(rows[seed])
    del rows[12], rows[13]
    assert_nothing_was_changed(rows.values(), undisturbed)
