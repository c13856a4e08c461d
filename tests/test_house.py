"""The rooms keep to themselves, and everything is typed and tidy."""

from __future__ import annotations

import subprocess
import sys

import pytest
from small import ROOT


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_imports_point_one_way():
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ablations.study", ["hydra", "torch", "pandas", "lightning_module"]),
        ("lightning_module.cell.config", ["torch", "pytorch_lightning"]),
        ("lightning_module.cell.record", ["torch", "pytorch_lightning", "hydra"]),
        ("reports.__main__", ["torch", "pytorch_lightning", "hydra", "wandb"]),
        ("ablations.sweep.here", ["torch", "pytorch_lightning"]),
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
