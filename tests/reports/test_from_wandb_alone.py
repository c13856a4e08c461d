"""Reports from an empty folder and nothing but ENTITY/PROJECT: the same as from the records."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import command_server
import pytest
from small import ISSUE
from wandb_lab import push
from wandb_server import Project, Server

from lightning_module.tracking.sweeps import pack
from reports import __main__ as door
from reports.pages.folder import LIST

COMMON = (
    *(word for word in ISSUE if not word.startswith(("logger=", "model.depth="))),
    *("logger=wandb_offline", "trainer.progress=false"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep and a changed part of a study, really trained; of each a cell is taken away, as if it never started."""
    folder = tmp_path_factory.mktemp("trained")
    for words in (["model.depth=8,14", "seed=0,1"], ["ablation=degradation", "model.depth=20", "seed=0,1"]):
        done = command_server.server().run("run.py", "-m", *words, *COMMON, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    for path in (folder / "runs" / "sweeps").glob("*.json"):
        shutil.rmtree(folder / "runs" / json.loads(path.read_text())["cells"][-1]["identity"])
    return folder / "runs"


@pytest.fixture(scope="module")
def project(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Project]:
    """What the plain `wandb sync` makes of it."""
    with Server() as server:
        push(trained.glob("*/wandb/offline-run-*"), **server.environment(tmp_path_factory.mktemp("pushed")))
        return server.projects


def report(*words: str) -> dict[str, str]:
    """The files of a report that is made in the current folder, without what names their source."""
    assert door.main(words) == 0
    return {
        path.as_posix(): without_source(path.read_text())
        for path in sorted(Path("results").rglob("*.*"))
        if path.name != LIST
    }


def without_source(text: str) -> str:
    """Without links, checksums, the regenerating command and the line of W&B addresses."""
    text = re.sub(r"\[(\w+)\]\(http[^)]*/runs/\1\)", r"\1", text)
    text = re.sub(r'<a href="http[^"]*/runs/(\w+)">\1</a>', r"\1", text)
    text = re.sub(r"\n<tr><td[^>]*>W&amp;B</td>.*?</tr>", "", text)
    text = re.sub(r"\b[0-9a-f]{12}\b(?= *(\||$|\\\\|</td>))|SHA-256 [0-9a-f]+", "checksum", text, flags=re.M)
    text = re.sub(r" --source \S+?(?=[`<\s])", "", text)
    return "\n".join(line for line in text.splitlines() if not re.match(r"\|? *(W&B|W\\&B|W\\\\&B)\b", line))


@pytest.mark.parametrize("what", ["sweep", "study", "--all"])
def test_an_empty_folder_gives_the_same_report(
    server: Server,
    trained: Path,
    project: dict[tuple[str, str], Project],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    server.projects = copy.deepcopy(project)
    name = "degradation" if what == "study" else what
    if what == "sweep":
        name = next((trained / "sweeps").glob("depth_8_14*")).stem
    for folder in ("records", "alone"):
        (tmp_path / folder).mkdir()
    (tmp_path / "records" / "runs").symlink_to(trained)
    monkeypatch.chdir(tmp_path / "records")
    ours = report(name)
    monkeypatch.chdir(tmp_path / "alone")
    alone = report(name, "--source", "wandb:lab/p")
    assert not Path("runs").exists()
    assert ours.keys() == alone.keys()
    for file, text in ours.items():
        assert alone[file] == text, file
    page = next(
        text for file, text in ours.items() if file.endswith("index.md" if what == "--all" else "/report.md")
    )
    assert "3 of 4" in page, "the cell that never started is there"


def test_so_do_the_files_of_w_and_b_alone(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("records", "files"):
        (tmp_path / folder).mkdir()
    (tmp_path / "records" / "runs").symlink_to(trained)
    for path in trained.glob("*/wandb"):
        shutil.copytree(path, tmp_path / "files" / "runs" / path.parent.name / "wandb")
    monkeypatch.chdir(tmp_path / "records")
    ours = report("degradation")
    monkeypatch.chdir(tmp_path / "files")
    assert report("degradation", "--source", "wandb-offline") == ours


def test_a_project_whose_runs_carry_no_sweep_says_how_they_get_one(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.project("lab", "p", create=True)
    monkeypatch.chdir(tmp_path)
    assert door.main(["--source", "wandb:lab/p"]) == 2
    said = capsys.readouterr().err
    assert "neither runs nor wandb:lab/p holds a sweep" in said
    assert "or bring there what was trained elsewhere:" in said and "python -m reports sync lab/p" in said


def test_what_was_edited_by_hand_is_passed_over_or_named(
    server: Server,
    trained: Path,
    project: dict[tuple[str, str], Project],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.projects = copy.deepcopy(project)
    monkeypatch.chdir(tmp_path)
    source = ("--source", "wandb:lab/p")
    names = {path.stem: path for path in (trained / "sweeps").glob("*.json")}
    (grid,) = (name for name in names if name.startswith("depth_8_14"))
    cells = [cell["identity"] for cell in json.loads(names[grid].read_text())["cells"][:3]]

    def edit(identity: str, **changes: object) -> None:
        run = server.projects["lab", "p"].runs[identity]
        config = json.loads(run.config)
        config["sweeps"]["value"][grid].update(changes)
        run.config = json.dumps(config)

    edit(cells[0], manifest="AAAA", declared=4e9)
    edit(cells[1], manifest=pack({"name": "../../elsewhere"}), declared=4e9)
    assert door.main(["--list", *source]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in listed} == names.keys()
    assert door.main(source) == 0
    assert f"Newest sweep: {grid}" in capsys.readouterr().out
    edit(cells[2], manifest=None)
    assert door.main([grid, *source]) == 2
    error = capsys.readouterr().err
    assert f"sweep {grid} of wandb:lab/p cannot be reported (what it declared cannot be read" in error
    for cell in cells:
        edit(cell, manifest=None)
    assert door.main([grid, *source]) == 2
    assert "none of its runs there carries the list of its 4 cells" in capsys.readouterr().err
    assert door.main(["--all", *source]) == 2, "and the others are reported"
    assert list(Path("results").glob("degradation-*/report.md"))


def test_audit_and_sync_bring_up_to_date_what_a_sweep_declared(
    server: Server,
    trained: Path,
    project: dict[tuple[str, str], Project],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A sweep all of whose cells were finished before, and one that was settled after its last cell."""
    server.projects = copy.deepcopy(project)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "runs")
    assert door.main(["audit", "lab/p"]) == 0, capsys.readouterr().out
    path = next(Path("runs", "sweeps").glob("depth_8_14*"))
    asked = json.loads(path.read_text())
    path.with_name("again.json").write_text(
        json.dumps(asked | {"name": "again", "cells": asked["cells"][:2]})
    )
    changed = next(Path("runs", "sweeps").glob("degradation*"))
    changed.write_text(json.dumps(json.loads(changed.read_text()) | {"expected_from": "a measurement"}))
    assert door.main(["audit", "lab/p"]) == 1
    said = capsys.readouterr().out
    assert said.count("undeclared ") == 2 and "what sweep again declared is not on W&B" in said
    assert "6 of 6 records agree" in said
    assert door.main(["sync", "lab/p"]) == 0, capsys.readouterr().out
    assert "2 of 2 runs pushed" in capsys.readouterr().out
    assert door.main(["audit", "lab/p"]) == 0
    shutil.rmtree("runs")
    assert door.main(["again", "--source", "wandb:lab/p"]) == 0
    assert door.main(["degradation", "--source", "wandb:lab/p"]) == 0
    assert "a measurement" in next(Path("results").glob("degradation*/report.md")).read_text()
