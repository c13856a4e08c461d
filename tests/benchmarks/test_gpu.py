"""The script for a borrowed GPU, rehearsed on the CPU with networks of 8 layers: it has to work the first time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from mps_stand_in import stand_in
from small import ROOT

from benchmarks.gpu.machine import mps
from benchmarks.gpu.plan import Plan
from lightning_module.cell import record

CELL = "model.depth=8 model.width=1 recipe.steps=900 recipe.drops=[500]"


def start(tmp_path: Path, name: str, *words: str, seconds: int) -> subprocess.Popen[str]:
    """One call of the script, on a machine and with a folder for results of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu", *words, "--toy", "--seconds", str(seconds)]
    folders = ["--base", str(tmp_path / name), "--kit", str(tmp_path / "kit")]
    environment = {**os.environ, "OUT": str(tmp_path / f"{name}-out")}
    return subprocess.Popen(
        [*command, *folders], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc, for a stand-in of NVIDIA's driver")
@pytest.mark.parametrize(
    ("code", "said"), [(0, "MPS is on\n"), (805, "MPS does not work here\n")], ids=["works", "does not"]
)
def test_mps_serves_what_is_started_within_and_is_quit(tmp_path, monkeypatch, code, said):
    stand = stand_in(tmp_path / "bin", code)
    for name, text in stand.environment.items():
        monkeypatch.setenv(name, text)
    plan = Plan(tmp_path / "out", 60)
    with mps(plan) as works:
        assert works == (code == 0) == ("CUDA_MPS_PIPE_DIRECTORY" in os.environ)
        assert [question[:-1] for question in stand.asked()][:1] == [["start", "GPU-0"]]
    assert [question[0] for question in stand.asked()] == ["start", "quit"]
    assert plan.results.read_text() == said


def test_measure_says_every_check_and_table(tmp_path):
    process = start(tmp_path, "a", "measure", seconds=1800)
    printed, _ = process.communicate(timeout=1800)
    results = (tmp_path / "a-out" / "results.md").read_text("utf-8")
    log = (tmp_path / "a-out" / "log.txt").read_text("utf-8")
    assert process.returncode == 0, printed + log
    assert printed == results
    assert "ERROR" not in results and "NO TIME" not in results and "did not end" not in results, printed + log
    assert re.findall(r"^- ([^:]+):", results, re.MULTILINE) == [
        "graph against eager, 32",
        "the same with dropout, 32",
        "resume, with dropout",
        "a step that cannot be recorded",
        "a step with dropout that cannot be recorded",
        "divergence",
        "images/s",
        "memory",
        "synchronisations",
        "mode=benchmark, 32",
        "kernels of a step, 32",
        "compiled units, 32",
    ]
    assert results.count("bit-equal") == 9 and "NOT bit-equal" not in results
    for table in ("| variant |", "| loop |", "| processes x threads |"):
        assert table in results


def test_science_stops_with_checkpoints_and_goes_on_elsewhere(tmp_path):
    sweeps = (CELL, f"{CELL} seed=1")
    first = start(tmp_path, "a", "science", *sweeps, seconds=600)
    while [bool(one.epochs) for one in record.read_all(tmp_path / "a" / "runs").values()] != [True, True]:
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    first.terminate()
    printed, _ = first.communicate(timeout=120)
    assert first.returncode == 143, printed
    back = sorted(path.name for path in (tmp_path / "a-out").iterdir())
    assert back == ["log.txt", "results.md", "runs-checkpoints-1.tar", "runs.tgz"]
    with tarfile.open(tmp_path / "a-out" / "runs.tgz") as archive:
        assert not [name for name in archive.getnames() if name.endswith("ckpt")]

    (tmp_path / "kit").mkdir()
    (tmp_path / "a-out").rename(tmp_path / "kit" / "back")
    second = start(tmp_path, "b", "science", *sweeps, seconds=600)
    printed, _ = second.communicate(timeout=600)
    assert second.returncode == 0, printed
    found = list(record.read_all(tmp_path / "b" / "runs").values())
    assert len(found) == 2
    for one in found:
        assert one.state == "finished"
        assert [attempt["step"] > 0 for attempt in one.attempts] == [False, True]
        assert f"| {one.cell['name']} | finished | 900 |" in printed
    assert sorted(path.name for path in (tmp_path / "b-out").iterdir()) == [
        "log.txt",
        "results.md",
        "runs.tgz",
    ]
