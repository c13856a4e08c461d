"""NCCL: two processes, two GPUs. Runs wherever there are two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sweeps import TINY, run

from lightning_module.cell import record

CELL = (
    *(word for word in TINY if not word.startswith("trainer=")),
    "recipe.steps=24",
    "recipe.drops=[12]",
    "seed=0",
)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: run it on a machine that has them")
def test_two_gpus_learn_what_one_learns(tmp_path: Path) -> None:
    for devices in (1, 2):
        own = (f"trainer.devices={devices}", "trainer.accelerator=gpu", f"runs={tmp_path}/{devices}")
        done = run("run.py", *CELL, *own, seconds=300)
        assert done.returncode == 0, done.stderr
    (one,), (two,) = (list(record.read_all(tmp_path / str(devices)).values()) for devices in (1, 2))
    assert two.attempts[0]["devices"] == 2
    for ours, alone in zip(two.epochs, one.epochs, strict=True):
        assert ours["train/loss"] == pytest.approx(alone["train/loss"], rel=1e-3)
