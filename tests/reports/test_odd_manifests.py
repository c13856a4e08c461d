"""A manifest that is odd costs its own report and no other, writes nowhere else, and is told in one sentence."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import make_cell, manifest, sweep, train

from ablations.sweep import manifest as manifests
from lightning_module.support.errors import ConfigError
from reports.__main__ import main

GOOD = "good"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    sweep(tmp_path / "runs", depths=[20], shortcuts="A", seeds=[0, 1], name=GOOD)
    return tmp_path / "runs"


def every_report(runs: Path, *more: str) -> int:
    return main(["--all", *more, "--runs", str(runs), "--out", str(runs.parent / "a" / "b" / "out")])


def content(runs: Path) -> dict[str, Any]:
    return dict(json.loads((runs / "sweeps" / f"{GOOD}.json").read_text()))


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


NAMES = [
    "../../x",
    "/tmp/x",
    "",
    ".",
    "..",
    "a/b",
    "x\0y",
    "n" * 5000,
    "index.md",
    "index.html",
    ".hidden",
    "a b",
    "\ud800",
]


@pytest.mark.parametrize("name", [*NAMES, 7])
def test_a_name_that_is_none_writes_nothing_elsewhere(runs, capsys, name):
    """In a file of its own: the name that it gives itself is not the file's."""
    (runs / "sweeps" / "odd.json").write_text(json.dumps(content(runs) | {"name": name}))
    before = below(runs.parent)
    assert every_report(runs) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "odd.json" in error
    made = {path for path in below(runs.parent) - before if not path.startswith("runs/")}
    assert all(path == "a" or path.startswith(("a/b",)) for path in made)
    out = runs.parent / "a" / "b" / "out"
    assert {path.name for path in out.iterdir()} == {GOOD, "index.md", "index.html", ".report-files.json"}
    assert main(["odd", "--runs", str(runs), "--out", str(out)]) == 2


@pytest.mark.parametrize("name", [".", "index.md", "a b", "x\ny", "é\x1b"])
def test_a_file_whose_name_is_no_folder_is_one_sentence(runs, capsys, name):
    (runs / "sweeps" / f"{name}.json").write_text(json.dumps(content(runs) | {"name": name}))
    assert every_report(runs) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is no name of a sweep" in error
    assert "\x1b" not in error


def replaced(path: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """A manifest with a value in place of another; path: "cells.0.config"."""

    def change(data: Any) -> object:
        *parents, last = path.split(".")
        node = data
        for key in parents:
            node = node[int(key) if key.isdigit() else key]
        node[int(last) if last.isdigit() else last] = value
        return data

    return change


ODD: list[tuple[Callable[[dict[str, Any]], object] | str | bytes, str]] = [
    ("", "no JSON"),
    ("{", "no JSON"),
    ("[" * 100_000, "no JSON"),
    (b"\xff\xfe", "no JSON"),
    ("null", "not a mapping"),
    ('{"name": NaN}', "NaN is no number"),
    ("9" * 5000, "no JSON"),
    ("{}", "it has no name"),
    (lambda data: data | {"more": 1}, 'unknown key, "more"'),
    (replaced("study", 3), "its study is 3, not a text or null"),
    (replaced("overrides", "seed=0"), "its overrides is not a list"),
    (replaced("factors", [[]]), "its factors[0] is [], not a text"),
    (replaced("cells", []), "it has no cells"),
    (replaced("cells", {"0": {}}), "its cells is not a list"),
    (replaced("cells.0", 1), "its cells[0] is not a mapping"),
    (replaced("cells.0.name", None), "its cells[0].name is null, not a text"),
    (replaced("cells.0.identity", "../../etc"), "identity of its cells[0] is not that of its configuration"),
    (replaced("cells.0.config", {}), "its cells[0].config has no seed"),
    (replaced("cells.0.config", []), "its cells[0].config is not a mapping"),
    (replaced("cells.0.config.model", {"depth": {}}), "is {"),
    (
        lambda data: replaced("cells.0.config", data["cells"][1]["config"])(data),
        "not that of its configuration",
    ),
    (lambda data: replaced("cells.1", data["cells"][0])(data), "a cell stands in it twice"),
    (replaced("cells.0.parameters", "many"), 'its cells[0].parameters is "many", not a number'),
    (replaced("cells.0.parameters", True), "is true, not a number"),
    (replaced("cells.0.multiply_adds", 10**300), "not a number"),
    (replaced("cells.0.overrides", [1]), "its cells[0].overrides[0] is 1, not a text"),
    (replaced("excluded", [{"overrides": []}]), "its excluded[0] has no reason"),
    (
        replaced("departures", [{"key": "a.b", "study": 1, "here": []}]),
        "its departures[0].study is not a list",
    ),
    (replaced("expected", {"a": "b"}), 'its expected.a is "b", not a number'),
    (replaced("command", 5), "its command is 5, not a text"),
]


@pytest.mark.parametrize(("change", "said"), ODD)
def test_an_odd_manifest_is_one_sentence_and_the_others_are_reported(runs, capsys, change, said):
    path = runs / "sweeps" / "odd.json"
    data = content(runs) | {"name": "odd"}
    odd = change if isinstance(change, str | bytes) else json.dumps(change(data))
    path.write_bytes(odd if isinstance(odd, bytes) else odd.encode())
    assert every_report(runs) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path} is not a sweep manifest (")
    assert said in error
    assert error.count("\n") == 1
    index = (runs.parent / "a/b/out/index.md").read_text()
    assert f"]({GOOD}/report.md)" in index
    assert "No report: sweeps/odd.json is not a sweep manifest" in index
    assert str(runs) not in index
    assert main(["--list", "--runs", str(runs)]) == 2
    assert GOOD in capsys.readouterr().out


def test_a_link_to_nowhere_and_a_folder_are_no_manifests(runs, capsys):
    (runs / "sweeps" / "gone.json").symlink_to(runs / "nowhere")
    (runs / "sweeps" / "folder.json").mkdir()
    assert every_report(runs) == 2
    assert sorted(line.split(" cannot be read")[0] for line in capsys.readouterr().err.splitlines()) == [
        f"error: {runs}/sweeps/{name}.json" for name in ("folder", "gone")
    ]


def test_names_that_are_one_folder_are_not_mixed(runs, capsys):
    """As on a file system that knows no upper case, played by a link."""
    sweep(runs, depths=[56], shortcuts="A", seeds=[0], name="GOOD")
    out = runs.parent / "a/b/out"
    out.mkdir(parents=True)
    (out / "good").mkdir()
    (out / "GOOD").symlink_to(out / "good")
    assert every_report(runs) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "by another name" in said


def test_mutated_manifests_are_reported_or_told(runs, capsys):
    """A hundred manifests, each with a value or two of another kind."""
    rng = random.Random(12)
    values = [
        None,
        True,
        -1,
        0,
        2.5,
        10**400,
        -(10**17),
        "",
        "a",
        "x\n|y",
        "\ud800",
        "../x",
        [],
        ["a"],
        [[]],
        {},
        {"a": 1},
    ]
    values += [
        [1, 2],
        ["model.depth"],
        ["state"],
        ["seed"],
        [{"key": "a", "study": [[1]], "here": [None]}],
        "depth",
        "a'b",
    ]
    told = 0
    path = runs / "sweeps" / "odd.json"
    for _ in range(100):
        data = content(runs) | {"name": "odd"}
        for _ in range(rng.choice((1, 1, 2))):
            node: Any = data
            while True:
                key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
                if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.4:
                    break
                node = node[key]
            node[key] = rng.choice(values)
        path.write_text(json.dumps(data))
        code = main(["odd", "--runs", str(runs), "--out", str(runs.parent / "out")])
        error = capsys.readouterr().err
        assert (code, error.count("\n")) in ((0, 0), (2, 1)), data
        told += code == 2
    assert 50 < told < 100


@pytest.mark.parametrize(("study", "factors"), [("scaling", ["model.depth"]), (None, ["model.depth"] * 2)])
def test_factors_that_the_cells_lack_or_that_stand_there_twice(runs, capsys, study, factors):
    odd = json.dumps(content(runs) | {"name": "odd", "study": study, "factors": factors})
    (runs / "sweeps" / "odd.json").write_text(odd)
    assert every_report(runs) == (2 if study else 0)
    said = "the cells of sweep odd have no trainer.devices, by which study scaling tells them apart"
    assert (said in capsys.readouterr().err) == bool(study)


@pytest.mark.parametrize(
    "levels",
    [
        [0.1, 0.1 + 2**-54],  # one float
        [2**53, 2**53 + 1],
        [1, 1 + 2**-52],
        [5e-324, 1.0],
    ],
)
def test_levels_that_no_axis_can_show_are_reported(runs, levels):
    cells = [make_cell(recipe__learning_rate=level) for level in levels]
    for cell in cells:
        train(runs, cell, error=12.5)
    manifest(runs, "close", cells, ["recipe.learning_rate"])
    assert every_report(runs) == 0
    assert "nan" not in (runs.parent / "a/b/out/close/figures/error_by_learning_rate.svg").read_text()


@pytest.mark.parametrize("value", ["1.7e308", "5e-324"])
def test_extreme_numbers_of_a_record_are_reported(runs, value):
    sweep(runs, depths=[56], shortcuts="A", seeds=[0], name="one")
    path = runs / make_cell(56, "A", 0).identity / "record.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["crc"]
    text = "\n".join(map(json.dumps, lines)) + "\n"
    for key in ("train/loss", "learning_rate", "images_per_second", "layer 2"):
        text = re.sub(rf'("{key}"[:,]) [-+.e0-9]+', rf"\1 {value}", text)
    path.write_text(text)
    assert every_report(runs) == 0


def test_a_manifest_of_another_sweep_is_not_taken_for_this_one(runs):
    """Copied to another name, as a backup is."""
    path = runs / "sweeps" / "backup.json"
    path.write_bytes((runs / "sweeps" / f"{GOOD}.json").read_bytes())
    with pytest.raises(
        ConfigError, match="holds the manifest of sweep 'good', and a manifest has the name of its sweep"
    ):
        manifests.read(path)
    assert (
        manifests.read(runs / "sweeps" / f"{GOOD}.json").cells[0]["identity"]
        == make_cell(20, "A", 0).identity
    )
    os.remove(path)
