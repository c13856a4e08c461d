"""An ordinary installation: a wheel, unpacked where the source is not, and the command that it provides."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from small import ROOT

from lightning_module.cell import record

TINY = ("model.depth=8", "model.width=4", "recipe.steps=4", "recipe.drops=[2]", "logger=none", "trainer=cpu")
SOURCE = ("ablations", "conf", "hydra_plugins", "lightning_module", "reports", "slurm")
FILES = ("residual_ablations.py", "run.py", "pyproject.toml", "README.md", "LICENSE")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as in site-packages, and bin/residual-ablations."""
    for name in ("pip", "setuptools"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for name in SOURCE:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "-w", str(folder), str(source)], check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    shutil.rmtree(source)
    (script,) = (line for line in (folder / "site").glob("*.dist-info/entry_points.txt"))
    assert "residual-ablations = residual_ablations:main" in script.read_text()
    program = folder / "residual-ablations"
    program.write_text(f"#!{sys.executable}\nfrom residual_ablations import main\nmain()\n")
    program.chmod(0o755)
    return folder


@pytest.fixture
def command(installed: Path, tmp_path: Path) -> Command:
    """`residual-ablations WORDS`, in an empty folder."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(installed / "residual-ablations"), *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed / "site")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


def test_an_installation_trains_and_reports(command, installed, tmp_path):
    before = sorted(path for path in (installed / "site").rglob("*") if path.suffix != ".pyc")
    trained = command("run", "-m", "seed=0", "hydra.launcher.jobs=2", *TINY)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "Report:  residual-ablations report seed_0" in trained.stdout
    records = [record.read(path.parent) for path in tmp_path.glob("runs/*/record.jsonl")]
    assert [found.state for found in records] == ["finished"]
    assert {found.attempts[0]["commit"] for found in records} == {"unknown"}
    next(tmp_path.glob("runs/*/record.jsonl")).unlink()
    report = command("report")
    assert report.returncode == 0, report.stderr
    assert "0 of 1 cells finished" in report.stdout
    (page,) = tmp_path.glob("results/*/report.md")
    assert "\nresidual-ablations run seed=" in page.read_text()
    assert "python" not in page.read_text().replace("python 3", "")
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "results"}
    after = sorted(path for path in (installed / "site").rglob("*") if path.suffix != ".pyc")
    assert [path for path in after if path.name != "__pycache__"] == [
        path for path in before if path.name != "__pycache__"
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("", 0, "residual-ablations COMMAND"),
        ("trian", 2, "trian is not a command; allowed are run, list"),
        ("run model.depth=57", 2, "error: model.depth=57 is not 6n+2"),
        ("run --help", 0, "residual-ablations run -m model.depth=20,56,110"),
        ("plan depth seed=0 model.depth=20", 0, "ResNet-20 seed 0"),
        ("status", 2, "--runs runs is not a folder"),
        ("audit", 2, "train something first: residual-ablations run"),
    ],
)
def test_each_command_is_the_module_s_own(command, words, code, said):
    done = command(*words.split())
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
