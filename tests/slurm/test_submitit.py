"""The private names of submitit that are used here, where another version may have changed them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm import cluster, script
from slurm.options import Options
from slurm.resources import Resources


def test_submitit_writes_the_batch_script_that_is_asked_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    needs = Resources(2, 1, None, 3, "4G", 60, "batch", None, "node[3-4]")
    made = script.executor(
        tmp_path / "array", needs, Options(), 2, tmp_path / "code", elements=["ResNet-8"] * 5
    )
    lines = made._make_submission_file_text("the command", "").splitlines()
    wanted = ("array=0-4%2", "job-name=array", "mem=4G", "nodes=2", "signal=USR2@120", "time=60", "requeue")
    assert {f"#SBATCH --{option}" for option in wanted} <= set(lines)
    assert f"#SBATCH --output={tmp_path}/array/%A_%a_0_log.out" in lines
    assert not [line for line in lines if "wckey" in line]
    (command,) = [line for line in lines if line.endswith("the command")]
    assert command.startswith("srun --unbuffered --output")
    assert "unset MASTER_ADDR" in lines[: lines.index(command)]
    assert "trap '' TERM INT USR1 USR2" in lines[lines.index(command) :]


def test_submitit_reads_lists_of_nodes() -> None:
    assert cluster.hostnames("rack1n[09-10],gpu[1,3]-ib,login") == [
        *("rack1n09", "rack1n10", "gpu1-ib", "gpu3-ib", "login")
    ]
