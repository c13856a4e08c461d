"""Where a number comes from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from small import ROOT, SMALL

from lightning_module.cell import record

HIDE = """
import sys
from importlib import metadata
version = metadata.version
def hidden(name):
    if name == "wandb":
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = hidden
sys.modules["wandb"] = None
"""


def test_a_cell_is_trained_where_wandb_is_not_installed(tmp_path):
    """As on a borrowed machine without a network, with logger=none."""
    code = f"{HIDE}\nsys.argv[0] = 'run.py'\nimport runpy\nrunpy.run_path('run.py', run_name='__main__')"
    texts = [*SMALL, "trainer=cpu", "logger=none", f"runs={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", code, *texts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = record.read(next(Path(tmp_path).glob("*/record.jsonl")).parent)
    assert found.state == "finished"
    assert "torch" in found.attempts[0]["versions"] and "wandb" not in found.attempts[0]["versions"]
