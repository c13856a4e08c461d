"""docs/tutorial.md as somebody follows it: its files in an empty folder, its commands one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from small import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def blocks(language: str, heading: str = "") -> list[str]:
    """The blocks of code in a language, of the page or of what stands under a heading."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0] if heading else PAGE
    return re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)


def write_files(folder: Path) -> None:
    """The files that the page shows, by the name in their first line."""
    for code in blocks("python"):
        if named := re.match(r"# (\w+\.py)\n", code):
            (folder / named[1]).write_text(code, encoding="utf-8")


def follow(heading: str, folder: Path) -> str:
    """Run the commands under a heading as they stand there, and return what they print."""
    programs = folder.parent / "bin"
    programs.mkdir(exist_ok=True)
    command = programs / "residual-ablations"
    command.write_text(f"#!{sys.executable}\nfrom residual_ablations import main\nmain()\n")
    command.chmod(0o755)
    (code,) = blocks("bash", heading)
    paths = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
