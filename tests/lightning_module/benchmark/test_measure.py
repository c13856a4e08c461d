"""mode=benchmark, and the scripts that measure, run to their end; what they find is for a quiet machine."""

from __future__ import annotations

import subprocess
import sys

import pytest
from small import ROOT, SMALL

from ablations.sweep.compose import compose, make_cell
from lightning_module.benchmark import ceilings
from lightning_module.benchmark import measure as benchmark
from lightning_module.train import run
from lightning_module.training import checkpoint
from lightning_module.training.interruption import Interruption


@pytest.fixture
def brief(monkeypatch):
    for name, value in (("SECONDS", 0.1), ("WARM_SECONDS", 0.1), ("LEAST_STEPS", 5), ("PARTS", 2)):
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(ceilings, "SECONDS", 0.01)


def cell_of(*overrides):
    texts = (*SMALL, "trainer=cpu", *overrides)
    return make_cell(compose(texts), texts)


def test_a_benchmark_is_a_cell_of_its_own():
    training, speed = cell_of(), cell_of("mode=benchmark")
    assert training.identity == cell_of("mode=train", "trainer.threads=1").identity
    others = [
        cell_of("mode=benchmark", text).identity
        for text in ("trainer.threads=1", "trainer.channels_last=false", "trainer.deterministic=true")
    ]
    assert len({training.identity, speed.identity, *others}) == 5
    assert cell_of("mode=benchmark", "trainer.progress=true").identity == speed.identity


def test_it_is_recorded_like_any_cell(tmp_path, brief):
    record = run(cell_of("mode=benchmark", f"runs={tmp_path}"), Interruption())
    assert record.state == "finished", record.status
    last, event = record.last, record.events[-1]
    assert last["images_per_second"] > 0
    assert last["step_ms_p95"] >= last["step_ms"] > 0
    parts = sum(last[f"{part}_ms"] for part in ("data", "forward", "backward", "optimizer"))
    assert 0.2 < parts / last["step_ms"] < 5
    assert event["event"] == "benchmark"
    assert event["steps"] >= 5
    assert event["floor_seconds"]["arithmetic"] > 0
    assert event["floor_seconds"]["convolutions"] >= event["floor_seconds"]["arithmetic"]
    assert event["floor_seconds"]["launches"] is None
    assert event["fewest_kernels"] == 3 * 8 + 1


class AtOnce(Interruption):
    """Asks to stop whenever somebody looks."""

    def __bool__(self) -> bool:
        return True


def test_told_to_stop_it_leaves_without_a_checkpoint_and_measures_anew(tmp_path, brief, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda *all: saved.append(all))
    overrides = ("mode=benchmark", f"runs={tmp_path}", "trainer.checkpoint_every=1")
    assert run(cell_of(*overrides), AtOnce()).state == "killed"
    again = run(cell_of(*overrides), Interruption())
    assert (again.state, len(again.epochs), saved) == ("finished", 1, [])


def test_it_measures_communication_between_processes(tmp_path):
    overrides = [*SMALL, "trainer=cpu", "mode=benchmark", "trainer.devices=2", f"runs={tmp_path}"]
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if 'RANK' in os.environ:\n"
        "    from lightning_module.benchmark import ceilings, measure as b\n"
        "    ceilings.SECONDS = 0.01\n"
        "    b.SECONDS, b.WARM_SECONDS, b.LEAST_STEPS, b.PARTS = 0.1, 0.1, 5, 2\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
        record = run(make_cell(compose(overrides), tuple(overrides)), Interruption())
    assert record.state == "finished", record.status
    assert record.last["communication_ms"] >= 0


@pytest.mark.parametrize(
    "command",
    [
        "against_peers.py --depths 8 --rounds 1 --steps 1 --batch-size 4 --workers 1 --no-overhead",
        "limit.py --depths 8 --size 8 --rounds 1 --steps 2 --batch-size 4 --precision bf16",
        "sweep_overhead.py --cells 1 --rounds 1",
    ],
)
def test_the_scripts_run(command):
    script, *rest = command.split()
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *rest], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("|") > 20
