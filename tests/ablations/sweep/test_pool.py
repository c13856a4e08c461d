"""Several cells at a time on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from cluster import until
from command_server import server
from mps_stand_in import stand_in
from sweeps import TINY, metrics, run

from ablations.sweep.pool import shares
from lightning_module.cell import record


def test_devices_are_shared_out() -> None:
    parts = shares(2, 1, range(8), ["0", "1"])
    assert [(part.cpus, part.gpus) for part in parts] == [((0, 1, 2, 3), ("0",)), ((4, 5, 6, 7), ("1",))]
    assert [part.gpus for part in shares(2, 2, range(4), list("0123"))] == [("0", "1"), ("2", "3")]
    assert [part.gpus for part in shares(3, 1, range(4), ["0"])] == [("0",)] * 3
    assert [part.cells for part in shares(3, 1, range(4), ["0", "1"])] == [2, 1, 2]
    assert [part.cpus for part in shares(3, 1, range(2), [])] == [(0,), (1,), (0,)]


def test_an_interrupted_pool_goes_on_and_gives_what_one_process_gives(tmp_path: Path) -> None:
    cells = (*TINY, "seed=0,1,2")
    command = ["run.py", "-m", *cells, f"runs={tmp_path}/pool", "hydra.launcher.jobs=2"]
    pool = server().start(*command)

    def trains() -> bool:
        return any(found.epochs for found in record.read_all(tmp_path / "pool").values())

    until("training", trains, 90)
    pool.send_signal(signal.SIGINT)
    output = pool.communicate(timeout=60)[0]
    assert pool.returncode == 130
    assert "goes on from there" in output
    found = record.read_all(tmp_path / "pool")
    assert 1 <= len(found) <= 2
    assert {one.state for one in found.values()} <= {"killed", "finished"}
    assert run(*command).returncode == 0

    assert run("run.py", "-m", *cells, f"runs={tmp_path}/one").returncode == 0
    pooled, alone = record.read_all(tmp_path / "pool"), record.read_all(tmp_path / "one")
    assert len(alone) == 3
    assert {key: metrics(one) for key, one in pooled.items()} == {
        key: metrics(one) for key, one in alone.items()
    }


@pytest.mark.parametrize("devices", [1, 2])
def test_cells_save_and_leave_when_the_pool_is_killed(tmp_path: Path, devices: int) -> None:
    steps = ("recipe.steps=5000", "recipe.drops=[4000]", f"trainer.devices={devices}")
    command = ["run.py", "-m", *TINY, *steps, "seed=0", f"runs={tmp_path}", "hydra.launcher.jobs=2"]
    pool = server().start(*command)
    until("training", lambda: any(found.epochs for found in record.read_all(tmp_path).values()), 90)
    pool.send_signal(signal.SIGKILL)
    pool.communicate(timeout=30)
    until(
        "end of the cell",
        lambda: all(one.state == "killed" for one in record.read_all(tmp_path).values()),
        30,
    )
    (found,) = record.read_all(tmp_path).values()
    assert time.time() - found.attempts[0]["time"] < 90
    until("end of its processes", lambda: not processes_of(found.folder), 30)


def processes_of(run: Path) -> list[str]:
    """Processes whose command line names a run folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(run).encode() in (folder / "cmdline").read_bytes():
                found.append(folder.name)
    return found


def test_a_cell_that_dies_is_an_error_and_its_output_is_named(tmp_path: Path) -> None:
    cells = (*TINY, "recipe.steps=5000", "recipe.drops=[4000]", "seed=0", f"runs={tmp_path}")
    pool = server().start("run.py", "-m", *cells, "hydra.launcher.jobs=2")
    until("training", lambda: any(found.epochs for found in record.read_all(tmp_path).values()), 90)
    (run_folder,) = (found.folder for found in record.read_all(tmp_path).values())
    for process in processes_of(run_folder):
        os.kill(int(process), signal.SIGKILL)
    output = pool.communicate(timeout=60)[0]
    assert pool.returncode == 1
    assert str(run_folder / "output.log") in output


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc, for a stand-in of NVIDIA's driver")
def test_cells_on_one_gpu_share_a_server_that_ends_with_them(tmp_path: Path) -> None:
    """Without a GPU they train on the CPU; what they were given is what counts here."""
    stand = stand_in(tmp_path / "bin")
    cells = (*TINY, "recipe.steps=5000", "recipe.drops=[4000]", "seed=0,1", f"runs={tmp_path}/runs")
    command = ["run.py", "-m", *cells, "trainer.accelerator=auto", "hydra.launcher.jobs=2"]
    environment = {**os.environ, **stand.environment, "CUDA_VISIBLE_DEVICES": "3"}
    pool = server().start(*command, env=environment)
    until("training", lambda: any(found.epochs for found in record.read_all(tmp_path / "runs").values()), 90)
    ((start, devices, folder),) = stand.asked()
    assert (start, devices) == ("start", "GPU-3")
    pool.send_signal(signal.SIGINT)
    pool.communicate(timeout=60)
    assert pool.returncode == 130
    assert stand.asked()[1:] == [["quit", folder]]
    assert stand.clients() == [["GPU-3", "2", folder]] * 2


def test_jobs_must_be_a_number() -> None:
    done = run("run.py", "-m", *TINY, "seed=0,1", "hydra.launcher.jobs=0")
    assert done.returncode == 2
    assert "hydra.launcher.jobs=0 is not allowed" in done.stderr
