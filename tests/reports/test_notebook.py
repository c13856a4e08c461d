"""`import reports`, as in a notebook."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pandas as pd
import pytest
from small import ROOT
from synthetic import make_cell, manifest, sweep, train

import reports
from lightning_module.support.errors import ConfigError
from reports.__main__ import main

STATES = {(20, "A", 1): "failed", (20, "none", 0): "planned", (56, "none", 1): "diverged"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook") / "runs"
    sweep(folder, (20, 56), ("A", "none"), range(3), STATES)
    return folder


def test_a_frame_has_a_row_for_each_declared_cell_and_typed_columns(runs: Path) -> None:
    cells = reports.frame(runs=runs)
    assert len(cells) == 12 and cells.attrs == {"sweep": "depth_20_56_110"}
    assert list(cells.columns[:6]) == [
        "identity", "name", "model.depth", "model.shortcut", "seed", "state",
    ]  # fmt: skip
    assert cells["state"].value_counts().loc[["finished", "failed", "diverged", "planned", "queued"]].tolist() == [
        9, 1, 1, 1, 0,
    ]  # fmt: skip
    kinds = {"model.depth": "int64", "seed": "int64", "test/error": "float64", "seconds": "float64"}
    kinds |= {"state": "category", "epoch": "Int64", "dirty": "boolean", "recipe.learning_rate": "float64"}
    assert {column: str(cells[column].dtype) for column in kinds} == kinds
    (never,) = cells[cells["state"] == "planned"].to_dict("records")
    assert (never["model.depth"], never["model.shortcut"], never["seed"]) == (20, "none", 0)
    assert pd.isna(never["test/error"]) and pd.isna(never["epoch"])


def test_a_key_that_some_cells_lack_is_still_a_number(tmp_path: Path) -> None:
    cells = [make_cell(seed=0), make_cell(seed=1, model__odd=4)]
    manifest(tmp_path, "odd", cells, ("model.odd",))
    odd = reports.frame("odd", runs=tmp_path)["model.odd"]
    assert str(odd.dtype) == "Int64" and odd.isna().tolist() == [True, False]


def test_a_history_has_a_row_for_each_cell_and_epoch(runs: Path) -> None:
    curves = reports.history("depth_20_56_110", runs=str(runs))
    assert not curves.duplicated(["identity", "epoch"]).any()
    assert {"model.depth", "model.shortcut", "seed", "epoch", "step", "test/error"} <= {*curves.columns}
    last = curves.sort_values("epoch").groupby("identity")["test/error"].last()
    told = reports.frame(runs=runs).set_index("identity")["test/error"]
    assert last.to_dict() == told.dropna().to_dict()


def test_verdicts_are_those_of_the_report(tmp_path: Path) -> None:
    """Of a study whose place only the manifest knows, and without its claims when the place is gone."""
    (tmp_path / "lab").mkdir()
    study = tmp_path / "lab" / "mine.py"
    study.write_text(
        "from ablations.study import Claim, Study, grid\n"
        "STUDY = Study('Why?', 'ours', ['data=digits'], grid(model__shortcut=['A', 'none'], seed=range(5)),\n"
        "    rows='model.shortcut', claims=[\n"
        "        Claim('plain is worse', {'model.shortcut': 'none'}, {'model.shortcut': 'A'}, above=5),\n"
        "        Claim('and B', {'model.shortcut': 'B'}, {'model.shortcut': 'A'}, above=0)])\n"
    )
    cells = [make_cell(shortcut=shortcut, seed=seed) for shortcut in ("A", "none") for seed in range(5)]
    for cell in cells:
        train(
            tmp_path, cell, 10.0 + 20 * (cell.config["model"]["shortcut"] == "none") + cell.config["seed"] % 2
        )
    manifest(tmp_path, "mine", cells, ("model.shortcut", "seed"), study="mine", studies=str(study.parent))
    found = reports.verdicts("mine", runs=tmp_path)
    assert found["claim"].tolist() == ["plain is worse, by at least 5 points", "and B"]
    assert found["verdict"].tolist() == ["undecided", "untested"]  # without spread nothing is shown
    assert found["difference"].tolist()[0] == pytest.approx(20) and pd.isna(found["difference"][1])
    assert found[["pairs", "planned"]].to_numpy().tolist()[0] == [5, 5]
    study.unlink()
    assert reports.verdicts("mine", runs=tmp_path).empty
    assert main(["mine", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "mine" / "report.md").read_text(encoding="utf-8")
    assert (
        f"Study mine is not in {study.parent} any more: sweep mine is reported without its question" in page
    )
    manifest(tmp_path, "mine", cells, ("model.shortcut", "seed"), study="depth", studies=str(study.parent))
    assert reports.verdicts(
        "mine", runs=tmp_path
    ).empty  # one of ours has got its name since, and is another study


def test_a_figure_shows_itself_as_the_file_of_the_report(runs: Path) -> None:
    drawn = reports.figures(runs=runs)
    assert {"learning_curves", "error_by_depth"} <= drawn.keys()
    (data,) = re.findall(r'base64,([^"]+)"', drawn["learning_curves"]._repr_html_())
    assert base64.b64decode(data).decode() == drawn["learning_curves"].svg
    assert drawn["learning_curves"].svg.startswith("<svg ")


def test_what_does_not_exist_is_one_sentence(runs: Path) -> None:
    with pytest.raises(ConfigError, match="^dept is neither a sweep in .*; did you mean depth"):
        reports.frame("dept", runs=runs)
    with pytest.raises(ConfigError, match="^studies=nowhere is neither a folder nor a package"):
        reports.frame(runs=runs, studies="nowhere")


def test_the_lines_of_the_document_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) <= 10
    monkeypatch.chdir(runs.parent)
    monkeypatch.setattr(pd.DataFrame, "plot", lambda self, **_: self)  # which needs matplotlib
    scope: dict[str, pd.DataFrame] = {}
    exec(code, scope)
    assert {*scope["curves"].columns} == {20, 56}
