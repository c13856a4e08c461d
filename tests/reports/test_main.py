"""`python -m reports` as a user meets it."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest
from small import ROOT
from synthetic import make_cell, manifest, sweep, train

from ablations.study import Claim, Published, Study, grid
from ablations.sweep import manifest as manifests
from ablations.sweep import studies
from reports import choose
from reports.__main__ import main

STATES = {
    (56, "A", 0): "failed",
    (110, "none", 1): "diverged",
    (110, "B", 2): "planned",
    (110, "B", 3): "killed",
}
NAME = "depth_20_56_110"

STUDY = Study(
    question="Do projection shortcuts beat identity shortcuts?",
    source="arXiv:1512.03385, Table 3",
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"],
    cells=grid(model__shortcut=["A", "B", "none"], model__depth=[20, 56, 110], seed=range(5)),
    rows="model.depth",
    columns="model.shortcut",
    baseline="A",
    published=(
        Published({"model.shortcut": "A", "model.depth": 110}, 6.61, "Table 6", "mean", 0.16, 5),
        Published(
            {"model.shortcut": "A", "model.depth": 20}, 8.75, "Table 6", differs="two GPUs of 64 images"
        ),
        Published({"model.shortcut": "none", "model.depth": 110}, 60, "Fig. 6", bound="above"),
    ),
    claims=(
        Claim("plain nets are worse", {"model.shortcut": "none"}, {"model.shortcut": "A"}, above=0),
        Claim("1202 layers are worse", {"model.depth": 1202}, {"model.depth": 110}, above=0),
    ),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    sweep(folder / "runs")
    report(folder)
    return folder


@pytest.fixture(scope="module")
def holes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("holes")
    sweep(folder / "runs", states=STATES)
    report(folder)
    return folder


def report(folder: Path, *arguments: str) -> int:
    return main([*arguments, "--runs", str(folder / "runs"), "--out", str(folder / "results")])


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def markdown(folder: Path, name: str = NAME) -> str:
    return (folder / "results" / name / "report.md").read_text()


def as_study(folder: Path, monkeypatch: pytest.MonkeyPatch, study: Study = STUDY, **changed: object) -> str:
    """The same runs, reported as those of a study."""
    (path,) = (folder / "runs" / "sweeps").glob("*.json")
    made = dataclasses.replace(manifests.read(path), study="shortcut_options", name="as_study", **changed)  # type: ignore[arg-type]
    manifests.write(folder / "runs", made)
    monkeypatch.setattr(choose, "study", lambda name: study if name else None)
    try:
        assert report(folder, "as_study") == 0
    finally:
        (folder / "runs" / "sweeps" / "as_study.json").unlink()
    return markdown(folder, "as_study")


def test_whole_sweep(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = markdown(whole)
    assert "**45 of 45 cells finished.**" in text
    assert "DRAFT" not in text
    assert "Missing, failed" not in text
    row = next(line for line in text.splitlines() if line.startswith("| 110 | 6."))
    assert row == "| 110 | 6.18 ± 0.18 | 5.87 ± 0.21 | 11.17 ± 0.22 |"


def test_numbers_are_those_of_the_records(whole: Path) -> None:
    from lightning_module.cell import record

    errors = [
        record.read(whole / "runs" / make_cell(56, "B", s).identity).last["test/error"] for s in range(5)
    ]
    rows = list(csv.DictReader((whole / "results" / NAME / "tables" / "groups.csv").open()))
    (row,) = [row for row in rows if (row["depth"], row["shortcut"]) == ("56", "option B")]
    assert float(row["test error, % mean"]) == pytest.approx(sum(errors) / 5, rel=1e-12)
    assert row["test error, % n"] == "5"


def test_holes_cannot_vanish(holes: Path) -> None:
    text = markdown(holes)
    assert "DRAFT: 41 of 45 cells finished, 1 diverged, 1 planned, 1 killed, 1 failed" in text
    assert "| ResNet-56 A seed 0 | failed | RuntimeError: out of memory |" in text
    assert "| ResNet-110 B seed 2 | planned | never started |" in text
    assert "| plain-110 none seed 1 | diverged |" in text
    assert "python run.py model.depth=110 model.shortcut=B seed=2" in text
    assert "python run.py model.depth=110 model.shortcut=none seed=1" not in text, "diverged is a result"
    assert "4 of 5, 1 diverged" in text
    assert "7.43 ± 0.23†" in text
    assert "11.14 ± 0.25‡" in text
    assert "Draft: 41 of 45 cells finished" in (holes / "results" / NAME / "report.html").read_text()


def test_nothing_finished_is_still_a_report(tmp_path: Path) -> None:
    cells = [make_cell(20, "A", seed) for seed in range(2)]
    manifest(tmp_path / "runs", "none_yet", cells, ["model.depth", "seed"])
    assert report(tmp_path) == 0
    assert "0 of 2 cells finished, 2 planned" in markdown(tmp_path, "none_yet")


def test_one_cell_without_any_factor(tmp_path: Path) -> None:
    cell = make_cell()
    train(tmp_path / "runs", cell)
    manifest(tmp_path / "runs", "defaults", [cell], [])
    assert report(tmp_path) == 0
    assert "1 of 1 cells finished" in markdown(tmp_path, "defaults")


def test_third_factor_joins_the_rows(tmp_path: Path) -> None:
    cells = [make_cell(d, s, recipe__learning_rate=lr) for d in (20, 56) for s in "AB" for lr in (0.05, 0.1)]
    for cell in cells:
        train(tmp_path / "runs", cell)
    manifest(tmp_path / "runs", "three", cells, ["model.depth", "model.shortcut", "recipe.learning_rate"])
    assert report(tmp_path) == 0
    assert "| 56, learning rate 0.05 |" in markdown(tmp_path, "three")


def test_same_records_same_bytes(holes: Path, tmp_path: Path) -> None:
    """In another place, under another hash seed, from the cache or not."""
    shutil.copytree(holes / "runs", tmp_path / "elsewhere" / "runs")
    (tmp_path / "elsewhere" / "runs" / ".records.npz").unlink()
    command = [sys.executable, "-m", "reports", "--runs", str(tmp_path / "elsewhere" / "runs")]
    subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT, env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}, check=True, capture_output=True,
    )  # fmt: skip
    assert files(tmp_path / "out") == files(holes / "results")


def test_no_absolute_path_and_no_external_resource(holes: Path) -> None:
    for name, content in files(holes / "results").items():
        text = content.decode()
        assert str(holes) not in text, name
        assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", text), name


def test_figures_are_well_formed_and_said_in_words(whole: Path) -> None:
    figures = list((whole / "results" / NAME / "figures").glob("*.svg"))
    assert {path.stem for path in figures} >= {"error_by_depth", "learning_curves", "layer_responses"}
    for path in figures:
        tree = ElementTree.parse(path).getroot()
        assert "nan" not in path.read_text().lower(), path
        assert tree[0].tag.endswith("title")
        assert tree[0].text
        assert f"figures/{path.name}" in markdown(whole)


def test_seeds_that_agree_have_no_interval_and_draw_none(tmp_path: Path) -> None:
    cells = [make_cell(depth, "A", seed) for depth in (20, 56) for seed in range(3)]
    for cell in cells:
        train(tmp_path / "runs", cell, error=5.0)
    manifest(tmp_path / "runs", "same", cells, ["model.depth", "seed"])
    assert report(tmp_path) == 0
    for path in (tmp_path / "results" / "same" / "figures").glob("*.svg"):
        assert "nan" not in path.read_text().lower(), path
    assert "| 5.00 ± 0.00 | – |" in markdown(tmp_path, "same")


def test_html_marks_say_series_value_and_seed(whole: Path) -> None:
    page = (whole / "results" / NAME / "report.html").read_text()
    assert re.search(r"<title>depth 56, option B, seed 3: \d\.\d\d %</title>", page)


def test_latex_is_booktabs_and_escaped(holes: Path) -> None:
    text = (holes / "results" / NAME / "tables" / "main_test_error.tex").read_text()
    assert r"\toprule" in text
    assert r"6.76 $\pm$ 0.16" in text
    assert r"error, \%" in text
    assert r"7.43 $\pm$ 0.23$^\dagger$" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {3}


def test_newest_by_default_and_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "runs", depths=[20], shortcuts="A", seeds=[0], name="older")
    sweep(tmp_path / "runs", depths=[56], shortcuts="A", seeds=[0], name="newer")
    assert report(tmp_path) == 0
    assert "Newest sweep: newer (1 older: python -m reports --list" in capsys.readouterr().out
    assert report(tmp_path, "older") == 0
    assert report(tmp_path, "--list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]] == ["newer", "older"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["oldr"], "did you mean older?"),
        (["--source", "recods"], "choose one of"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    sweep(tmp_path / "runs", depths=[20], shortcuts="A", seeds=[0], name="older")
    assert report(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_no_runs_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(tmp_path) == 2
    assert "python run.py -m model.depth=20,56,110" in capsys.readouterr().err


def test_needs_neither_torch_nor_lightning_nor_hydra_and_takes_under_5_s(whole: Path) -> None:
    code = (
        "import sys, time; from reports.__main__ import main\n"
        f"assert main(['--runs', {str(whole / 'runs')!r}, '--out', {str(whole / 'again')!r}]) == 0\n"
        "heavy = {'torch', 'lightning', 'pytorch_lightning', 'hydra', 'omegaconf', 'matplotlib', 'wandb'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=5, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_study_answers_its_question(holes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = as_study(holes, monkeypatch)
    assert text.startswith("# Do projection shortcuts beat identity shortcuts?")
    assert re.search(
        r"- \*\*Supported\*\*: plain nets are worse\. Test error differs at depth \d+ by \+", text
    )
    assert re.search(r"\| plain nets are worse \| \*\*supported\*\* \|", text)
    assert "| option A, paper |" in text
    assert "| 6.61 ± 0.16 | −0.43 | mean of 5 | Table 6 |" in text
    assert "no published number" in text
    assert "two GPUs of 64 images" in text
    assert "Not the study's own protocol" not in text


def test_the_answer_has_the_interval_of_the_difference_that_it_names(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = as_study(whole, monkeypatch)
    (said,) = re.findall(
        r"lowest test error is .* % \(depth 110, option B, n = 5\); its difference from the baseline, "
        r"depth 110, option A, is (\S+) points, 99.4 % interval \[(\S+), (\S+)\], wider than a claim's because it "
        r"was picked as the best of 9\.",
        text,
    )
    mean, low, high = (float(number.replace("−", "-")) for number in said)
    assert low < mean < min(high, 0)


def test_a_limit_keeps_its_sign_and_has_no_difference(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = as_study(whole, monkeypatch)
    assert "| > 60 | – |" in text
    assert re.search(r"\| 110 \|.*\| 11.17 ± 0.22 \| > 60 \|", text), "the main table too"


def test_other_data_is_said_at_the_top_and_not_compared(holes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    departures = (
        {"key": "data.flip", "study": [True], "here": [False]},
        {"key": "data.name", "study": ["cifar10"], "here": ["digits"]},
        {"key": "recipe.drops", "study": [[32000, 48000]], "here": [[240, 340]]},
    )
    text = as_study(holes, monkeypatch, departures=departures, narrowed=("model.depth=20,56",))
    said = (
        "Deviations from the study: `data.name` digits instead of cifar10, `recipe.drops` [240, 340] instead of "
        "[32000, 48000] and `data.flip` no instead of yes."
    )
    assert text.index(
        "**Not the study's own protocol**: other data and recipe and a part of it"
    ) < text.index("##")
    assert said in text
    assert "Only a part of the study's cells: `model.depth=20,56`" in text
    assert "A, paper" not in text
    assert "not comparable" in text
    assert "−0.43" not in text


def test_what_changes_no_result_is_no_deviation(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = as_study(whole, monkeypatch, overrides=("trainer=cpu", "trainer.devices=2"))
    assert "own protocol" not in text
    assert "A, paper" in text


def test_more_seeds_are_neither_a_part_nor_another_protocol(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ({"key": "seed", "study": [0], "here": [1, 2, 5, 6]},)
    text = as_study(whole, monkeypatch, overrides=("seed=0,1,2,5,6",), departures=more)
    assert "More seeds than the study's own: 5 and 6." in text
    assert "Only a part" not in text
    assert "A, paper" in text


def test_a_typed_factor_is_never_averaged_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    rates = (0.03, 0.1)
    cells = [make_cell(20, s, i, recipe__learning_rate=r) for r in rates for s in "AB" for i in range(3)]
    for cell in cells:
        low = cell.config["recipe"]["learning_rate"] == 0.03
        train(runs, cell, error=8.0 + low + 0.01 * cell.config["seed"])
    manifest(runs, "rates", cells, ["model.depth", "model.shortcut", "recipe.learning_rate", "seed"])
    text = as_study(tmp_path, monkeypatch, overrides=("recipe.learning_rate=0.03,0.1",))
    assert "| 20, learning rate 0.03 | 9.01 ± 0.01 | 8.75 | 9.01 ± 0.01 |" in text
    assert "| 20, learning rate 0.1 | 8.01 ± 0.01 | 8.75 | 8.01 ± 0.01 |" in text
    assert "Confounded" not in text


def test_confounded_cells_are_flagged_with_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    cells = [
        make_cell(d, "A", s, recipe__warm_up="steps" if d == 110 else "none")
        for d in (20, 110)
        for s in (0, 1)
    ]
    for cell in cells:
        train(runs, cell)
    manifest(runs, "confounded", cells, ["model.depth", "model.shortcut", "seed"])
    text = as_study(tmp_path, monkeypatch)
    assert "## Confounded comparisons" in text
    assert "| `recipe.warm_up` | steps | depth 110, option A |" in text


def test_sweep_that_is_not_confounded_says_nothing(whole: Path) -> None:
    assert "Confounded" not in markdown(whole)


def test_check_fails_when_the_records_say_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = sweep(
        tmp_path / "runs", depths=[20, 56], shortcuts="A", seeds=[0, 1], states={(56, "A", 1): "killed"}
    )
    assert report(tmp_path, "--check") == 1, "nothing is there yet"
    assert report(tmp_path) == 0
    before = files(tmp_path / "results")
    assert report(tmp_path, "--check") == 0
    train(tmp_path / "runs", make_cell(56, "A", 1))
    capsys.readouterr()
    assert report(tmp_path, "--check") == 1
    assert f"{made.name}/report.md: no longer what the records say" in capsys.readouterr().err
    assert files(tmp_path / "results") == before, "--check writes nothing"
    assert report(tmp_path) == 0
    assert report(tmp_path, "--check") == 0
    assert not (tmp_path / "results" / made.name / "tables" / "open_cells.csv").exists()


def test_index_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sweep(tmp_path / "runs", shortcuts=["A", "none"], seeds=range(5), name="shortcut_options")
    manifests.write(tmp_path / "runs", dataclasses.replace(made, study="shortcut_options"))
    sweep(
        tmp_path / "runs",
        depths=[20],
        shortcuts="A",
        seeds=[0],
        states={(20, "A", 0): "planned"},
        name="mine",
    )
    monkeypatch.setattr(
        choose, "every_study", lambda: (dict.fromkeys(["shortcut_options", "depth"], STUDY), {})
    )
    monkeypatch.setattr(studies, "load", lambda name: STUDY)
    assert report(tmp_path, "--all") == 0
    text = (tmp_path / "results" / "index.md").read_text()
    assert (
        "| [Do projection shortcuts beat identity shortcuts?](shortcut_options/report.md) | the study's |"
        in text
    )
    assert "1 supported, 1 untested | 30 of 30 |" in text
    assert "| Do projection shortcuts beat identity shortcuts? |  | not started | – | – | `depth` |" in text
    assert "| [Test error by depth and shortcut](mine/report.md) |" in text
    page = (tmp_path / "results" / "index.html").read_text()
    for target in re.findall(r'href="([^"]+)"', page):
        assert (tmp_path / "results" / target).is_file(), target
    assert report(tmp_path, "--all", "--check") == 0
    assert report(tmp_path, "--all", "mine") == 2


MISTAKE = """from ablations.study import Study

STUDY = Study(
    question=1/0,
)
"""


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which somebody's study divides by zero, with a sweep of it and a sweep of no study."""
    folder = tmp_path_factory.mktemp("mistaken")
    for name in ("ablations", "lightning_module", "reports"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "ablations" / "mistaken.py").write_text(MISTAKE)
    (folder / "ablations" / "typo.py").write_text("STUDY = Study(\n")
    made = sweep(folder / "runs", depths=[20], shortcuts="A", seeds=[0], name="mine")
    manifests.write(folder / "runs", dataclasses.replace(made, name="half", study="mistaken"))
    return folder


def typed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as it is typed in a checkout."""
    command = [sys.executable, "-m", "reports", *arguments]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_mistake_in_one_study_costs_no_other_report(mistaken: Path) -> None:
    for check in ((), ("--check",)):
        done = typed(mistaken, "--all", *check)
        assert done.returncode == 2
        first, second = done.stderr.splitlines()
        assert first == "error: ablations/mistaken.py, line 4: ZeroDivisionError: division by zero"
        assert second.startswith("error: ablations/typo.py, line 1: SyntaxError: ")
        assert (mistaken / "results" / "mine" / "report.md").is_file()
        assert not (mistaken / "results" / "half").exists()
        text = (mistaken / "results" / "index.md").read_text()
        assert "No report: ablations/mistaken.py, line 4: ZeroDivisionError" in text
        assert "| `depth` |" in text
    (mistaken / "results" / "mine" / "report.md").write_text("")
    done = typed(mistaken, "--all", "--check")
    assert done.returncode == 2
    assert "mine/report.md: no longer what the records say" in done.stderr


@pytest.mark.parametrize("name", ["mistaken", "half", "typo"])
def test_a_mistake_in_the_study_that_is_asked_for_is_one_sentence(mistaken: Path, name: str) -> None:
    done = typed(mistaken, name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: ablations/{'typo' if name == 'typo' else 'mistaken'}.py, line ")
    assert done.stderr.count("\n") == 1


def test_out_that_cannot_be_written_is_one_sentence(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (whole / "file").write_text("")
    assert main(["--runs", str(whole / "runs"), "--out", str(whole / "file")]) == 2
    assert capsys.readouterr().err.count("choose another with --out FOLDER") == 1


def test_study_that_nobody_started_is_reported_as_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells come from ablations.sweep.plan, which is asked only then."""
    made = sweep(tmp_path / "other", depths=[20, 56], shortcuts="A", seeds=[0], states={}, name="waiting")
    plan = types.SimpleNamespace(study_manifest=lambda name: dataclasses.replace(made, name=name, study=name))
    monkeypatch.setitem(sys.modules, "ablations.sweep.plan", plan)
    monkeypatch.setitem(sys.modules, "ablations.waiting", types.SimpleNamespace(STUDY=STUDY))
    monkeypatch.setattr(studies, "names", lambda: ("waiting",))
    (tmp_path / "runs").mkdir()
    assert report(tmp_path, "waiting") == 0
    text = markdown(tmp_path, "waiting")
    assert "DRAFT: 0 of 2 cells finished, 2 planned" in text
    assert "**untested**" in text


def test_errors_of_unfinished_cells_are_nowhere(holes: Path) -> None:
    """A cell that was interrupted has epochs, but none of its errors may be taken for a result."""
    from lightning_module.cell import record

    for place in STATES:
        errors = [
            line["test/error"] for line in record.read(holes / "runs" / make_cell(*place).identity).epochs
        ]
        for name in ("cells", "groups", "main_test_error"):
            text = (holes / "results" / NAME / "tables" / f"{name}.csv").read_text()
            assert not any(str(error) in text for error in errors), (place, name)
