"""The time that a job is given is the time that the plan tells."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.sweep import manifest
from ablations.sweep.compose import compose, make_cell
from ablations.sweep.plan import announce, sweep
from ablations.sweep.request import request
from lightning_module.cell import record
from lightning_module.support.errors import ConfigError
from slurm.options import Options
from slurm.resources import LIMITS, SAFETY, START_SECONDS, Limits
from slurm.site import Site
from slurm.snapshot import snapshot
from slurm.submit import for_cluster, submit

GPU, CPU = "1 x Example GPU", "Example CPU, 2 threads"
PAPER = ("data=cifar10", "recipe=he2015_cifar", "logger=none")
SITE = Site({"p": Limits(None, 8, 64.0, 8)}, "p", largest_array=1000)


@pytest.fixture
def no_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands, which know of no job and take every one."""
    for name, answer in {"squeue": "", "sacct": "", "sbatch": "7"}.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{answer}"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def train(runs: Path, depth: int, step: float, hardware: str = GPU, devices: int = 1) -> None:
    """A record of a network whose steps took so many seconds; the first epoch paid for the start."""
    overrides = (*PAPER, f"model.depth={depth}", "seed=9")
    cell = make_cell(compose(overrides), overrides)
    folder = runs / cell.identity
    folder.mkdir(parents=True)
    writer = record.Writer(folder, cell)
    writer.start(0, {"hardware": hardware, "devices": devices})
    for epoch in (1, 2):
        writer.epoch(epoch, 391 * epoch, {"seconds": 391 * step + 300 * (epoch == 1), "test/error": 9.0})
    writer.close()


def planned_hours(runs: Path, capsys: pytest.CaptureFixture[str], overrides: tuple[str, ...]) -> float:
    assert main(["plan", *overrides, "--json", "--runs", str(runs)]) == 0
    return float(json.loads(capsys.readouterr().out)["totals"]["expected_device_hours"])


@pytest.mark.parametrize(
    ("overrides", "measured", "hours", "minutes"),
    [
        # 64,000 steps of 30 ms, measured: 0.53 h, and 2 x (2 min + 32 min) is 68 min.
        (("model.depth=110",), {110: 0.03, 20: 0.03}, 0.5333, 120),
        # A step of ResNet-56 is assumed to be 56 x 0.2 ms + 3 x 127 M x 128 / 2e12 per s = 35.6 ms, ResNet-110's 70.5.
        (("model.depth=56",), {110: 0.03}, 0.27, 60),
        (("model.depth=110", "trainer.devices=2"), {110: 0.03}, 0.7, 60),
        (("model.depth=110",), {}, 1.25, 240),
    ],
)
@pytest.mark.usefixtures("no_jobs")
def test_plan_report_and_time_limit_agree(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: tuple[str, ...],
    measured: dict[int, float],
    hours: float,
    minutes: int,
) -> None:
    runs = tmp_path / "runs"
    for depth, step in measured.items():
        train(runs, depth, step)
    asked = (*PAPER, *overrides, "seed=0", "trainer.accelerator=gpu")
    planned = planned_hours(runs, capsys, asked)
    assert planned == pytest.approx(hours, rel=0.05)
    made = sweep(request([*asked, f"runs={runs}"]), [])
    assert manifest.read(announce(made, "gpu")).expected == {made.cells[0].identity: planned}
    (array,) = submit(made.cells, runs, Options(), "sweep", SITE).arrays
    devices = made.cells[0].config["trainer"]["devices"]
    needed = SAFETY * (START_SECONDS + 3600 * planned / devices) / 60
    assert array.needs.time == min(limit for limit in LIMITS if limit >= needed) == minutes


@pytest.mark.usefixtures("no_jobs")
def test_nodes_without_addresses_are_refused_but_for_an_address_in_setup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the shell that submits says nothing about the job."""
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho node1.invalid\n")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    asked = (*PAPER, "seed=0", "trainer.nodes=2", f"runs={tmp_path / 'runs'}")
    cells = sweep(request(asked), []).cells
    for setup in ((), ("MASTER_ADDR=10.0.0.1",), ("export MASTER_PORT=7",)):
        with pytest.raises(ConfigError, match=r"node1.invalid has no address .*export MASTER_ADDR"):
            submit(cells, tmp_path / "runs", Options(setup=setup), "sweep", SITE)
    there = Options(setup=("module load x; export A=1 MASTER_ADDR=10.0.0.1",))
    (array,) = submit(cells, tmp_path / "runs", there, "sweep", SITE).arrays
    assert array.job == "7"
    avoiding = Options(setup=("echo $MASTER_ADDR",), exclude="node[1-3].invalid")
    assert submit(cells, tmp_path / "runs", avoiding, "sweep", SITE).arrays


@pytest.mark.parametrize(("gpus", "device"), [(None, "gpu"), ("a100:1", "gpu"), ("0", "cpu")])
def test_no_gpus_asked_for_are_cpus(gpus: str | None, device: str) -> None:
    (cell,) = sweep(request([*PAPER, "seed=0", "trainer.accelerator=auto"]), []).cells
    made = for_cluster(cell, Options(gpus_per_node=gpus), SITE)
    assert made.config["trainer"]["accelerator"] == device


@pytest.mark.parametrize(
    ("cores", "limit"),
    [(1, 480), (2, 240), (8, 240)],  # 64,000 steps of 100 ms on two cores are 1.78 h
)
@pytest.mark.usefixtures("no_jobs")
def test_a_job_with_fewer_cores_than_were_measured_gets_more_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cores: int, limit: int
) -> None:
    runs = tmp_path / "runs"
    train(runs, 20, 0.1, CPU)
    asked = (*PAPER, "model.depth=20", "seed=0", "trainer.accelerator=cpu")
    assert planned_hours(runs, capsys, asked) == pytest.approx(64000 * 0.1 / 3600)
    made = sweep(request([*asked, f"runs={runs}"]), [])
    (array,) = submit(made.cells, runs, Options(cpus_per_task=cores), "sweep", SITE).arrays
    assert array.needs.time == limit


def test_the_snapshot_holds_code_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab_of_mine").mkdir()
    (tmp_path / "lab_of_mine" / "__init__.py").touch()
    (tmp_path / "lab_of_mine" / "nets.py").write_text(
        "from dataclasses import dataclass\nfrom torch import nn\n"
        "@dataclass(frozen=True)\nclass Config:\n    name = 'mine'\n"
        "    def build(self, classes, channels):\n"
        "        return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, classes))\n"
    )
    (tmp_path / "images_of_mine.py").write_text(
        "import numpy as np\ndef load():\n"
        "    x, y = np.zeros((64, 8, 8), np.uint8), np.arange(64) % 2\n"
        "    return {'train_images': x, 'train_labels': y, 'test_images': x, 'test_labels': y}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    overrides = (
        "data=arrays",
        "data.function=images_of_mine.load",
        "recipe=quick",
        "model.family=lab_of_mine.nets",
    )
    cell = make_cell(compose(overrides), overrides)
    code = snapshot(tmp_path / "runs", [cell])
    copied = sorted(path.relative_to(code).as_posix() for path in (code / "lab_of_mine").rglob("*"))
    assert copied == ["lab_of_mine/__init__.py", "lab_of_mine/nets.py"]
    assert (code / "slurm" / "start.py").exists() and (code / "images_of_mine.py").exists()
    assert for_cluster(cell, Options(), SITE).config["data"]["root"] is None
    assert not (snapshot(tmp_path / "runs", []) / "lab_of_mine").exists()
