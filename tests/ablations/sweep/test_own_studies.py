"""Studies and networks of a folder, or a package, of somebody's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.sweep import check_study as check
from ablations.sweep import manifest, studies
from ablations.sweep.compose import use_studies
from ablations.sweep.plan import announce, sweep
from ablations.sweep.request import request
from lightning_module.support.errors import ConfigError

NET = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Config:
    width: int = 4
    name = "OwnNet"
    def build(self, classes, channels):
        from torch import nn
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, self.width), nn.Linear(self.width, classes))
"""
STUDY = """
from ablations.study import Study, grid
from own_levels import WIDTHS
STUDY = Study("Why?", "ours", ["model.family=own_net", "data=digits", "recipe=quick"],
              grid(model__width=WIDTHS, seed=0), rows="model.width")
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a study, and a current folder elsewhere; this process is a new one."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "own_net.py").write_text(NET)
    (tmp_path / "lab" / "own_study.py").write_text(STUDY)
    (tmp_path / "lab" / "own_levels.py").write_text("WIDTHS = [2, 4]\n")
    (tmp_path / "lab" / "folder.py").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))

    def forget() -> None:
        studies.OWN.clear()
        for cached in (studies.names, studies.load, check.checked):
            cached.cache_clear()
        for name in ("own_levels", "own_net"):
            sys.modules.pop(name, None)

    forget()
    yield tmp_path / "lab"
    forget()


def test_its_study_is_planned_and_the_sweep_remembers_where_it_lies(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "own_study", "--studies", "../lab", "--json"]) == 0
    names = [cell["name"] for cell in json.loads(capsys.readouterr().out)["cells"]]
    assert names == ["OwnNet seed 0, model.width=2", "OwnNet seed 0, model.width=4"]
    made = sweep(request(["ablation=own_study", "studies=../lab"]), [])
    assert made.manifest.name == "own_study"  # where it lies is no part of what is trained
    announce(made, "cpu")
    known = manifest.read(made.runs / "sweeps" / "own_study.json")
    assert known.studies == str(lab)
    assert studies.load_from(known.studies, "own_study") == studies.load("own_study")
    assert sweep(request(["ablation=depth", "studies=../lab", "seed=0"]), []).manifest.studies == ""


def test_a_package_is_a_place_too(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = lab.parent / "own_lab" / "studies"
    package.mkdir(parents=True)
    shutil.copy(lab / "own_levels.py", package)
    (package / "own_study.py").write_text(STUDY.replace("own_levels", ".own_levels"))
    shutil.copy(lab / "own_net.py", lab.parent)
    monkeypatch.chdir(lab.parent)
    use_studies(["studies=own_lab.studies"])
    made = sweep(request(["ablation=own_study", "studies=own_lab.studies"]), [])
    assert made.manifest.studies == "own_lab.studies"


@pytest.mark.parametrize(
    ("file", "code", "says"),
    [
        ("depth.py", "STUDY = 1", "studies=../lab holds a study depth, which is the name of one of ours"),
        ("own_study.py", "x = 1", "studies=../lab holds no study"),
        ("own_study.py", "STUDY = 1", r"lab/own_study.py: STUDY is not a Study"),
        ("own_study.py", "STUDY = exit(3)", r"lab/own_study.py, line 1: SystemExit: 3"),
        ("own_study.py", "STUDY = (", r"lab/own_study.py, line 1: SyntaxError"),
        (
            "own_study.py",
            STUDY.replace("own_net", "no_net"),
            "lab/own_study.py: base: model.family=no_net is neither",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    lab: Path, capsys: pytest.CaptureFixture[str], file: str, code: str, says: str
) -> None:
    (lab / file).write_text(code)
    assert main(["plan", "own_study", "--studies", "../lab"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and re.search(says, said)


def test_a_place_that_is_none(lab: Path) -> None:
    with pytest.raises(ConfigError, match="^studies= names no folder"):
        use_studies(["studies="])
    with pytest.raises(
        ConfigError, match=r"^studies=../lab/own_net.py is a file; name its folder: studies=../lab$"
    ):
        use_studies(["studies=../lab/own_net.py"])
    with pytest.raises(ConfigError, match="^studies=no.where is neither a folder nor a package"):
        use_studies(["studies=no.where"])
    with pytest.raises(ConfigError, match="lists several values"):
        use_studies(["studies=a,b"])
