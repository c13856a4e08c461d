"""What the launcher of this machine refuses before any work."""

from __future__ import annotations

import subprocess
import sys

import pytest
from small import ROOT, SMALL

from ablations.sweep.here import check_machine, run_sweep
from ablations.sweep.plan import sweep
from ablations.sweep.request import request
from lightning_module.cell.record import FILE, Writer
from lightning_module.support.disk import Lock
from lightning_module.support.errors import ConfigError


def test_a_record_of_a_newer_version_stops_the_sweep_before_any_work(tmp_path):
    asked = sweep(request([*SMALL, "seed=0,1", f"runs={tmp_path}"]), ["python", "run.py"])
    newer = tmp_path / asked.cells[1].identity
    with Lock(newer):
        Writer(newer, asked.cells[1]).close()
    (newer / FILE).write_text((newer / FILE).read_text().replace('"schema": 1', '"schema": 2', 1))
    with pytest.raises(ConfigError, match="has schema 2, newer than this program's 1: update the program"):
        run_sweep(asked)
    assert not (tmp_path / asked.cells[0].identity).exists()


@pytest.mark.parametrize(
    ("gpus", "overrides", "said"),
    [
        (0, ["trainer.nodes=2"], "trainer.nodes=2 needs hydra/launcher=slurm"),
        (0, ["trainer.accelerator=gpu"], "trainer.accelerator=gpu, but PyTorch .* finds no GPU here"),
        (1, ["trainer.devices=2"], "trainer.devices=2, but this machine has 1 GPUs"),
        (1, ["trainer.devices=2", "trainer.accelerator=cpu"], None),
        (1, ["trainer.accelerator=gpu"], None),
        (0, ["trainer.devices=2"], None),
    ],
)
def test_devices_that_are_not_there_are_one_sentence(monkeypatch, gpus, overrides, said):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    cells = sweep(request(["trainer=auto", *overrides]), []).cells
    if said is None:
        check_machine(cells)
        return
    with pytest.raises(ConfigError, match=said) as error:
        check_machine(cells)
    assert "\n" not in str(error.value)


def test_where_nothing_is_left_to_train_no_data_are_read_and_no_torch_is_imported():
    code = "import sys; from ablations.sweep.preflight import check_data; check_data([]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    assert "ablations.sweep.preflight" in done.stdout.split() and "torch" not in done.stdout.split()
