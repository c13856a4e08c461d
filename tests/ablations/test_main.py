"""python -m ablations: list, plan, why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from small import ROOT

from ablations.__main__ import main
from ablations.sweep import estimate, studies
from ablations.sweep.compose import compose, make_cell
from lightning_module.cell import price, record
from lightning_module.networks import cost
from lightning_module.support.disk import DiskCache, Lock

OVERRIDES = ("model.depth=20", "seed=0")


def finish(runs: Path, overrides: tuple[str, ...] = OVERRIDES, status: str | None = "finished") -> str:
    cell = make_cell(compose(overrides), overrides)
    folder = runs / cell.identity
    folder.mkdir(parents=True)
    with Lock(folder):
        writer = record.Writer(folder, cell)
        writer.start(0, {"hardware": "1 x Example GPU", "devices": 1})
        for epoch in (1, 2) if status else (1,):
            writer.epoch(epoch, 200 * epoch, {"seconds": 100.0, "test/error": 9.0})
        if status:
            writer.finish(status, 400)  # type: ignore[arg-type]
        writer.close()
    return cell.identity


def planned(capsys: pytest.CaptureFixture[str], runs: Path, *wanted: str) -> dict:
    assert main(["plan", *wanted, "--json", "--runs", str(runs)]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_says_cost_state_and_what_would_run(tmp_path, capsys):
    finish(tmp_path)
    finish(tmp_path, ("model.depth=20", "seed=1"), status=None)
    told = planned(capsys, tmp_path, "model.depth=20,32", "seed=0,1")
    by_name = {cell["name"]: cell for cell in told["cells"]}
    assert [cell["action"] for cell in told["cells"]] == ["done", "resume", "run", "run"]
    assert by_name["ResNet-20 seed 0"]["state"] == "finished"
    assert by_name["ResNet-20 seed 0"]["parameters"] == 269_722
    assert told["totals"]["to_run"] == 3
    # 100 s for 200 steps: half a second each, 400 of them
    assert by_name["ResNet-20 seed 1"]["expected_device_hours"] == pytest.approx(200 / 3600)
    assert by_name["ResNet-32 seed 0"]["expected_device_hours"] > 1.3 * 200 / 3600
    assert "Example GPU" in told["expected_from"]


def test_a_plan_for_people_names_the_source_and_the_excluded(tmp_path, capsys):
    assert main(["plan", "downsampling", "seed=0", "data=digits", "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "nothing measured yet; assumed" in text
    assert "8 combinations are impossible" in text
    assert "needs model.downsampling=stride" in text
    assert "data.name: digits instead of cifar10" in text


@pytest.mark.parametrize("device", ["cpu", "gpu", "Example"])
def test_the_device_of_the_estimate_can_be_chosen(device):
    work = estimate.Work(20, 1, 10**6, 64, "32")
    found = [
        estimate.Measured("Example GPU", "gpu", work, 0.5),
        estimate.Measured("A core", "cpu", work, 9.0),
    ]
    cell = {"config": {"model.depth": 20, "recipe.batch_size": 64, "trainer.precision": "32", "recipe.steps": 3600},
            "parameters": 1, "multiply_adds": 10**6}  # fmt: skip
    assert estimate.of_device(found, device).hours(cell, 1) == {"cpu": 9.0}.get(device, 0.5)


def test_a_benchmark_takes_a_minute_however_long_its_recipe(tmp_path, capsys):
    told = planned(capsys, tmp_path, "scaling", "trainer.devices=1,2")
    assert [cell["expected_device_hours"] for cell in told["cells"]] == pytest.approx(
        [1 / 60] * 3 + [2 / 60] * 6
    )


def test_a_benchmark_tells_the_seconds_of_a_step_and_not_of_itself():
    head = make_cell(compose(("mode=benchmark",)), ("mode=benchmark",)).to_json()
    attempt = {"hardware": "1 x Example GPU", "devices": 1}
    epoch = {"event": "epoch", "epoch": 1, "step": 100, "step_ms": 2.0, "seconds": 40.0}
    found = record.Record(Path(), head, (attempt,), (epoch,), state="finished")
    assert estimate.speed(found).seconds == pytest.approx(0.002)


def test_why_names_the_keys(tmp_path, capsys):
    identity = finish(tmp_path)
    assert main(["why", identity[:6], "model.depth=20 seed=3", "--runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [["seed", "0", "3"]]
    assert main(["why", "model.depth=20 seed=4", "--runs", str(tmp_path)]) == 0
    assert identity in capsys.readouterr().out
    assert main(["why", identity, "model.depth=20", "--runs", str(tmp_path)]) == 0
    assert "are the same cell" in capsys.readouterr().out


def test_units_are_those_of_figure_5(capsys):
    assert main(["units"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["basic", "64", f"{2 * 9 * 64**2:,}", "73,728"]
    assert lines[2] == ["bottleneck", "256", f"{256 * 64 + 9 * 64**2 + 64 * 256:,}", "69,632"]
    assert lines[3] == ["basic", "256", f"{2 * 9 * 256**2:,}", "1,179,648"]
    assert "1.06" in lines[-2]
    assert "16.94" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "dpth"], "did you mean depth"),
        (["plan", "depth", "model.depth=57"], "not a level"),
        (["why", "abc123"], "no such record"),
        (["why", "model.depth=20"], "no other finished cell"),
    ],
)
def test_bad_input_is_one_sentence(arguments, says, tmp_path, capsys):
    assert main([*arguments, "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_no_lightning_is_imported(tmp_path):
    code = (
        "import sys; from ablations.__main__ import main; "
        f"main(['plan', 'degradation', 'seed=0', '--runs', {str(tmp_path)!r}]); "
        "sys.exit('pytorch_lightning' in sys.modules or 'lightning_fabric' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_listing_composes_nothing_and_counts_no_network_twice(tmp_path, capsys, monkeypatch):
    """It would take a minute: there are 944 cells."""
    monkeypatch.setattr(price, "CACHE", DiskCache("costs", [], tmp_path))
    for cached in (price._cost, cost.cost, cost._measured):
        cached.cache_clear()
    GlobalHydra.instance().clear()
    assert main(["list", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("\n") == len(studies.names()) + 5
    assert not GlobalHydra.instance().is_initialized()
    assert cost._measured.cache_info().misses < 115


def test_what_was_counted_once_needs_no_torch(tmp_path):
    code = "import sys; from ablations.__main__ import main; main(['plan', 'depth']); print('torch' in sys.modules)"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    cold, warm = (
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    assert [done.stdout.split()[-1] for done in (cold, warm)] == ["True", "False"]
    assert cold.stdout.splitlines()[:-1] == warm.stdout.splitlines()[:-1]
