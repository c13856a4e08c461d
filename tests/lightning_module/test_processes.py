"""What the environment says of ranks, and who may say it."""

from __future__ import annotations

import os

from small import SMALL

from lightning_module.cell import record
from lightning_module.processes import RANK_VARIABLES, leave_foreign_ranks

FOREIGN = {
    "RANK": "1",
    "LOCAL_RANK": "abc",
    "WORLD_SIZE": "8",
    "NODE_RANK": "2",
    "GROUP_RANK": "x",
    "SLURM_PROCID": "abc",
    "PL_TRAINER_FAST_DEV_RUN": "1",
    "PL_TRAINER_MAX_STEPS": "3",
    "PET_NNODES": "4",
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "abc",
}


def test_a_run_does_not_know_a_foreign_environment(fresh_door, monkeypatch, tmp_path):
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    done = fresh_door(*SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    (found,) = record.read_all(tmp_path / "runs").values()
    assert found.state == "finished"
    assert found.last["step"] == 30


def test_below_torchrun_a_sentence_says_what_to_type(fresh_door, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    done = fresh_door(*SMALL)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: torchrun would start this program several times")
    assert "trainer.devices=N" in done.stderr


def test_what_a_launcher_that_is_known_says_of_ranks_stays(monkeypatch):
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "node1")
    leave_foreign_ranks("SLURM_")
    left = set(filter(RANK_VARIABLES.fullmatch, os.environ))
    assert left == {"SLURM_PROCID"}
    assert os.environ["MASTER_ADDR"] == "node1"
    leave_foreign_ranks()
    assert "SLURM_PROCID" not in os.environ
