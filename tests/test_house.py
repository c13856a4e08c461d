"""The rooms keep to themselves, and everything is typed and tidy."""

from __future__ import annotations

import ast
import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT
from synthetic import sweep


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_imports_point_one_way():
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def product() -> list[Path]:
    rooms = ("ablations", "hydra_plugins", "lightning_module", "reports", "slurm")
    return [
        ROOT / "run.py",
        ROOT / "residual_ablations.py",
        *(path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))),
    ]


BY_TEXT = {
    "ablations/sweep/studies.py": "study files",
    "lightning_module/networks/blocks/__init__.py": "blocks",
    "lightning_module/networks/families/__init__.py": "families",
    "lightning_module/support/own_code.py": "modules of one's own",
}
"""What a folder's listing finds is imported by its name; nothing else is, since no contract would see it."""


def test_every_other_import_is_one_that_the_contracts_see():
    calls = {"import_module", "__import__", "run_module", "run_path"}
    for path in product():
        if path.relative_to(ROOT).as_posix() in BY_TEXT:
            continue
        named = {
            getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(ast.parse(path.read_text()))
        }
        assert not named & calls, path


def text_without_encoding(path: Path) -> list[int]:
    """Lines of a file that read or write text in whatever encoding the locale has."""
    lines = []
    for call in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
        words = [str(word.value) for word in call.args if isinstance(word, ast.Constant)]
        modes = [
            word
            for word in [*words, str(keywords.get("mode", ""))]
            if word and not set(word) - set("rwaxbt+")
        ]
        as_text = (
            (name == "read_text" and not call.args)
            or name == "write_text"
            or (name in ("open", "NamedTemporaryFile", "TemporaryFile") and modes and "b" not in modes[0])
            or (
                name == "open"
                and not modes
                and (isinstance(call.func, ast.Name) or not call.args + call.keywords)
            )
            or bool(keywords.get("text") or keywords.get("universal_newlines"))
        )
        if as_text and "encoding" not in keywords:
            lines.append(call.lineno)
    return lines


def test_text_files_have_an_encoding_and_not_that_of_the_locale():
    found = {str(path): lines for path in product() if (lines := text_without_encoding(path))}
    assert not found


def test_a_module_is_no_longer_than_300_lines():
    long = {str(path): count for path in product() if (count := len(path.read_text().splitlines())) > 300}
    assert not long


def test_the_tests_of_a_module_lie_in_the_folder_of_its_room():
    rooms: dict[str, set[Path]] = {}
    for path in product():
        rooms.setdefault(path.stem.strip("_"), set()).add(path.parent.relative_to(ROOT))
    for path in (ROOT / "tests").rglob("test_*.py"):
        stem = path.stem.removeprefix("test_")
        assert path.parent.relative_to(ROOT / "tests") in rooms.get(
            stem, {path.parent.relative_to(ROOT / "tests")}
        )


def without(folder: Path, *names: str) -> dict[str, str]:
    """An environment in which these packages cannot be imported, as where they are not installed."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {names}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    return {**os.environ, "PYTHONPATH": str(folder)}


def python(*command: str, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_laptop_needs_no_slurm_folder(tmp_path):
    rest = [path for path in product() if "slurm" not in path.relative_to(ROOT).parts]
    for path in [*rest, *(ROOT / "conf").rglob("*.yaml"), *(ROOT / "reports").rglob("templates/*")]:
        copy = tmp_path / "clone" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    env, clone = without(tmp_path / "absent", "slurm", "submitit"), tmp_path / "clone"
    cells = ("model.depth=8,14", "recipe.steps=20", "recipe.drops=[10]", "logger=none")
    assert "2 to train" in python("run.py", "-m", *cells, cwd=clone, env=env)
    assert "2 finished before" in python("run.py", "-m", *cells, "hydra.launcher.jobs=2", cwd=clone, env=env)
    assert "2 of 2 cells finished" in python("-m", "reports", cwd=clone, env=env)
    assert "depth" in python("-m", "ablations", "list", cwd=clone, env=env)
    done = subprocess.run(
        [sys.executable, "run.py", "-m", "seed=0", "hydra/launcher=slurm"],
        cwd=clone, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: hydra/launcher=slurm needs the folder slurm/")


def test_a_report_from_records_needs_no_torch_and_no_hydra(tmp_path):
    sweep(tmp_path / "runs")
    report = ("-m", "reports", "--all", "--runs", str(tmp_path / "runs"))
    heavy = (
        "torch",
        "pytorch_lightning",
        "lightning_fabric",
        "hydra",
        "omegaconf",
        "wandb",
        "submitit",
        "sklearn",
    )
    env = without(tmp_path / "absent", *heavy)
    python(*report, "--out", str(tmp_path / "usual"), cwd=ROOT, env={**os.environ})
    python(*report, "--out", str(tmp_path / "light"), cwd=ROOT, env=env)
    pages = [str(path.relative_to(tmp_path / "usual")) for path in (tmp_path / "usual").rglob("*.*")]
    assert filecmp.cmpfiles(tmp_path / "usual", tmp_path / "light", pages, shallow=False) == (
        pages, [], []
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "reports", "depth", "--runs", str(tmp_path / "runs")],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: study depth was never started, and only where ")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ablations.study", ["hydra", "torch", "pandas", "numpy"]),
        ("lightning_module.cell.config", ["torch", "pytorch_lightning"]),
        ("lightning_module.cell.record", ["torch", "pytorch_lightning", "hydra"]),
        ("reports.__main__", ["torch", "pytorch_lightning", "hydra", "wandb"]),
        ("ablations.sweep.here", ["torch", "pytorch_lightning"]),
        ("lightning_module.train", ["pytorch_lightning", "lightning_fabric"]),
    ],
)
def test_a_room_starts_without_what_it_does_not_need(module, absent):
    code = f"import sys, {module}; print(*[name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_types():
    done = tool("mypy")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("command", [("ruff", "check"), ("ruff", "format", "--check")])
def test_style(command):
    done = tool(*command)
    assert done.returncode == 0, done.stdout


LARGEST = 200_000
"""Bytes of a file of this repository: whoever clones it gets every file that was ever in it."""


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_no_file_is_large_or_named_like_an_option():
    """A program that takes --help for a folder, and `git add`, once brought 180 MB here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    odd = [path for path in files if path.exists() and path.stat().st_size > LARGEST]
    assert not odd + [path for path in files if path.relative_to(ROOT).parts[0].startswith("-")]
