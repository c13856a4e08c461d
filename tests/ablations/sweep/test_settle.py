"""Rounds and the manifest that they are written into."""

from __future__ import annotations

import json

import pytest
from small import SMALL

from ablations.sweep import manifest as manifests
from ablations.sweep.plan import Sweep, announce, sweep
from ablations.sweep.request import request
from ablations.sweep.rounds import next_round
from ablations.sweep.settle import announced, stands, told
from lightning_module.support.errors import ConfigError

STUDY = ("ablation=shortcut_options", "data=digits", "recipe=quick", "model.depth=20")


def asked(*more: str) -> Sweep:
    return sweep(request([*STUDY, *more]), ["python", "run.py", *STUDY, *more])


def test_a_round_is_in_the_manifest_before_anything_runs_and_stays(tmp_path):
    settling = asked(f"runs={tmp_path}", "settle=true", "budget=2h")
    made = next_round(stands(settling, "cpu"))
    part = announced(settling, made, "cpu")
    assert {cell.identity for cell in part.cells} == set(made.cells) and len(made.cells) == 9
    path = tmp_path / "sweeps" / f"{settling.manifest.name}.json"
    (written,) = manifests.read(path).rounds
    assert json.loads(json.dumps(made.to_json())) == written and written["budget"] == 2.0
    assert len(manifests.read(path).expected) == 18  # of all cells, not of this round's alone
    everything = asked(f"runs={tmp_path}")
    assert not everything.settle and everything.manifest.name == settling.manifest.name
    announce(everything, "cpu")  # as python run.py -m ablation=... does
    assert manifests.read(path).rounds == (written,)
    assert next_round(stands(settling, "cpu")) == made  # taken up again


def test_what_is_only_about_settling_is_no_part_of_a_cell():
    plain, settling = asked(), asked("settle=true", "budget=90m")
    assert settling.budget == 1.5 and settling.settle
    assert [cell.overrides for cell in settling.cells] == [cell.overrides for cell in plain.cells]
    assert settling.manifest.overrides == plain.manifest.overrides


def test_a_manifest_with_a_round_that_is_none_is_one_sentence(tmp_path):
    settling = asked(f"runs={tmp_path}", "settle=true")
    announced(settling, next_round(stands(settling, "cpu")), "cpu")
    path = tmp_path / "sweeps" / f"{settling.manifest.name}.json"
    data = json.loads(path.read_text())
    data["rounds"][0]["budget"] = "much"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"its rounds\[0\].budget is .much., not a number or null"):
        manifests.read(path)


def test_a_grid_has_no_claims():
    with pytest.raises(ConfigError, match="it needs the claims of a study"):
        stands(sweep(request(SMALL), []), "cpu")


def test_what_is_told_of_a_round():
    settling = asked("runs=/nonexistent", "settle=true", "budget=2h")
    now = stands(settling, "cpu")
    lines = list(told(next_round(now), now))
    assert lines[0] == "Round 1: 2 of 3 claims open"
    assert lines[-2] == "Runs: ResNet-20, seed 0-2; ResNet-20 B, seed 0-2; ResNet-20 C, seed 0-2"
    assert lines[-1].startswith("9 cells, ") and lines[-1].endswith("0.0 s of 2.0 h used")
