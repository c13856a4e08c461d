"""What records, W&B and people wrote stands in reports and on the terminal as it is, and does nothing there."""

from __future__ import annotations

import csv
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small import ROOT
from synthetic import make_cell, manifest, train

from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.support.text import aligned, visible
from reports.__main__ import main

ERROR = (
    '[x](https://a"/onmouseover="alert(1)) <script>alert(1)</script> `b` **c** | d\n| e & f % g _h_ \\ $i$ '
    "\x1b[2J\x07\u202e report.PAGE"
)
NAME = "=cmd|'/C calc'!A0 <img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    failed, done = make_cell(20), make_cell(56)
    named = Cell(failed.config, failed.overrides, NAME, failed.parameters, failed.multiply_adds)
    train(folder / "runs", named, state="failed", error=None, reason=ERROR)
    train(folder / "runs", done)
    odd: dict[str, Any] = {
        "command": "python run.py -m 'a=```\n<script>alert(2)</script>'",
        "overrides": ("+a=1",),
    }
    odd["excluded"] = ({"overrides": ["+a=1", "b=<i>"], "reason": ERROR},)
    manifest(folder / "runs", "odd", [named, done], ("model.depth", "seed"), **odd)
    for what in ("odd", "--all"):
        assert main([what, "--runs", str(folder / "runs"), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_an_error_text_is_no_attribute_and_no_tag(out: Path) -> None:
    for name in ("odd/report.html", "index.html"):
        page = (out / name).read_text()
        assert not re.search(r"<[^>]*(onmouseover|onerror)", page), name
        assert page.count("<script>") == 1, "the page's own"
    said = '[x](https://a"/onmouseover="alert(1)) &lt;script&gt;alert(1)&lt;/script&gt; `b` **c** | d | e &amp; f'
    assert said in (out / "odd/report.html").read_text()


def test_markdown_shows_it(out: Path) -> None:
    text = (out / "odd" / "report.md").read_text()
    code = r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)"  # what stands between runs of as many backticks
    assert "<script>" not in re.sub(code, "", text, flags=re.DOTALL)
    (row,) = [line for line in text.splitlines() if "| failed |" in line and "onmouseover" in line]
    assert r"[x]\(https://a" in row
    assert r"d \| e &" in row
    assert r"\\x1b[2J" in row
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    assert "````sh\n" in text, "a command that holds a fence"
    assert "report.PAGE" in text


def test_tables_hold_a_row_a_cell(out: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((out / "odd/tables/open_cells.csv").read_text())))
    assert [row["cell"] for row in rows] == ["'" + NAME]
    assert rows[0]["reason"] == "\n".join(map(visible, ERROR.splitlines()))
    (excluded,) = csv.DictReader(io.StringIO((out / "odd/tables/excluded.csv").read_text()))
    assert excluded["overrides"] == "'+a=1 b=<i>"
    text = (out / "odd/tables/open_cells.tex").read_text()
    (row,) = [line for line in text.splitlines() if "onmouseover" in line]
    assert row.endswith(r"\\")
    assert len(re.findall(r"(?<!\\)&", row)) == 4


def test_links_of_runs_are_no_marks_in_tables(tmp_path: Path) -> None:
    cells = [make_cell(seed=seed) for seed in range(3)]
    for cell, url in zip(
        cells, ("https://w.example/r/1_a", "javascript:alert(1)", 'https://a"/x'), strict=True
    ):
        train(tmp_path, cell)
        writer = record.Writer(tmp_path / cell.identity, cell)
        writer.event("wandb", url=url)
        writer.close()
    manifest(tmp_path, "linked", cells, ("seed",))
    assert main(["linked", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "linked"
    for name in ("cells.csv", "cells.tex"):
        text = (folder / "tables" / name).read_text()
        assert "](" not in text and "http" not in text
        assert all(cell.identity in text for cell in cells)
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert re.findall(r'href="([^"]*)"', page) == ["https://w.example/r/1_a", "https://a%22/x"]
    assert re.findall(r"\]\((?!figures/)([^)]*)\)", text) == ["https://w.example/r/1_a", "https://a%22/x"]


def test_a_terminal_obeys_no_text(out: Path, tmp_path: Path) -> None:
    """What is printed by the door of reports, and the tables that all commands print."""
    made = manifest(tmp_path / "runs", "sweep", [make_cell()], (), study="\x1b[2J")
    command = [sys.executable, "-m", "reports", "--list", "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert r"study \x1b[2J" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    (tmp_path / "runs" / "sweeps" / "\x1b]0;x\x07.json").write_text("{}")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "\x1b" not in done.stdout + done.stderr
    assert made.name in done.stdout
    assert aligned([["\x1b[31ma\nb", "c"]]) == [r"\x1b[31ma b  c"]


@pytest.mark.parametrize("runs", ["runs", "other runs", "è", "a'b/runs"])
def test_what_a_report_says_to_type_finds_its_runs(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The override as Hydra reads it, the command as a shell does."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    monkeypatch.chdir(tmp_path)
    (tmp_path / runs).mkdir(parents=True)
    assert main(["--runs", runs]) == 2
    hint = capsys.readouterr().err.partition("such as: ")[2]
    manifest(Path(runs), "first", [make_cell()], (), command="python run.py runs=elsewhere")
    manifest(Path(runs), "second", [make_cell(56)], (), command="python run.py")
    assert main(["--runs", runs]) == 0
    older = re.findall(r"python -m reports [^)]*", capsys.readouterr().out)
    where = ["--runs", runs] if runs != "runs" else []
    assert [shlex.split(command)[3:] for command in older] == [["--list", *where]]
    assert main(["first", "--runs", runs]) == 0
    text = (tmp_path / "results" / "first" / "report.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("python run.py")]
    for words in map(shlex.split, [*commands, hint]):
        said = [override for override in words if override.startswith("runs=")]
        parsed = [OverridesParser.create().parse_override(override).value() for override in said]
        if runs != "runs":
            assert parsed == [runs]
    again = next(line for line in text.splitlines() if line.startswith("python -m reports"))
    assert shlex.split(again) == ["python", "-m", "reports", "first", *where]
