"""A family of one's own: found by its import path, checked as ours are, trained, and told apart by its code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small import ROOT, SMALL

from ablations.__main__ import main
from ablations.sweep.compose import compose, make_cell
from ablations.sweep.estimate import work
from ablations.sweep.plan import sweep
from ablations.sweep.request import request
from lightning_module.cell import record
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import USUAL_LAYERS, identity
from lightning_module.cell.record_values import wrong_setting
from lightning_module.networks import families
from lightning_module.support.errors import ConfigError
from lightning_module.train import run
from lightning_module.training.interruption import Interruption

MINE = """
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Config:
    width: int = 8
    gate: Literal["none", "sigmoid"] = "none"
    pools: tuple[int, ...] = (2,)
    groups: int = 1

    def __post_init__(self):
        if self.width % 2:
            raise ValueError(f"width={self.width} is odd")

    @property
    def name(self):
        return f"MyNet-{self.width}"

    def build(self, classes, channels):
        return Net(self, classes, channels)

    def watches(self, module):
        return isinstance(module, nn.Linear)


class Net(nn.Module):
    def __init__(self, config, classes, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, config.width, 5, padding=2)
        self.query = nn.Parameter(torch.randn(config.width, config.width))
        self.classifier = nn.Linear(config.width, classes)

    def forward(self, images):
        x = torch.relu(self.conv(images)).flatten(2).mean(2)
        return self.classifier(x @ self.query)
"""
FAMILY = ("data=digits", "recipe=quick", "model.family=my_nets")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with my_nets.py; `forget` makes of this process a new one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_nets.py").write_text(MINE)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    families.load.cache_clear()
    families.code.cache_clear()
    families.sources.cache_clear()
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def test_its_keys_are_those_of_its_dataclass_and_no_others(folder: Path) -> None:
    section = compose([*FAMILY, "model.width=4"])["model"]
    assert section.pop("code") == families.code("my_nets")
    assert section == {"family": "my_nets", "width": 4, "gate": "none", "pools": [2], "groups": 1}
    assert make_cell(compose([*FAMILY, "seed=3"]), ()).name == "MyNet-8 seed 3"


def test_the_network_of_the_document_is_a_cell(folder: Path) -> None:
    document = (ROOT / "docs" / "networks.md").read_text("utf-8")
    (folder / "my_nets.py").write_text(document.split("```python\n")[1].split("```")[0])
    cell = make_cell(compose([*FAMILY, "model.width=64"]), ())
    assert (cell.name, cell.parameters) == ("MyNet-64 seed 0", 64 * 28 + 65 * 10)


def test_what_is_counted_is_what_runs(folder: Path) -> None:
    """A matrix product without a module counts too."""
    cell = make_cell(compose([*FAMILY, "model.width=4"]), ())
    assert cell.parameters == 4 * (75 + 1) + 16 + 40 + 10
    assert cell.multiply_adds == 64 * 75 * 4 + 16 + 40


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("model.family=my_nets model.widht=4", "model.widht is not a key of the family my_nets; .*mean model.width"),
        ("model.family=my_nets model.depth=20", "model.depth is not a key of the family my_nets"),
        ("model.family=my_nets model.code=0", "model.code is not a key"),
        ("model.family=my_nets model.width=wide", "model.width=wide is not a whole number"),
        ("model.family=my_nets model.gate=sigmod", "model.gate=sigmod is not known; .*did you mean sigmoid"),
        ("model.family=my_nets model.width=3", "model.family=my_nets: width=3 is odd"),
        ("model.family=my_net", "model.family=my_net is neither a family nor a module .*allowed are"),
        ("model.family=my_nets trainer.activation_checkpoint=2", "=2 needs a network of units, and MyNet-8 is none"),
        ("model.family=my_nets recipe.bn_statistics=precise", "needs batch normalisation, and MyNet-8 has none"),
        ("model.family=my_nets.py", "model.family=my_nets.py is neither a family nor a module"),
        ("model.family=resnt", "did you mean resnet"),
        ("model=preact_cifar model.family=my_nets", "model=preact_cifar is of the family resnet, not my_nets"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(folder: Path, texts: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_cell(compose(texts.split()), ())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda code: code.replace("(frozen=True)", ""), "has no Config, which is a frozen dataclass"),
        (lambda code: code.replace("def build", "def make"), "its Config has no build"),
        (lambda code: code.replace("width: int = 8", "width: int"), "its key width has no default"),
        (lambda code: code.replace("width: int", "code: int"), "code is no key of a family; rename it"),
        (lambda code: code.replace("width: int", "width: bytes"), "its key width is of type"),
        (lambda code: code + "1 / 0", "my_nets cannot be imported: ZeroDivisionError"),
        (lambda code: code + "import my_blocks", "my_nets cannot be imported: ModuleNotFoundError.*my_blocks"),
        (lambda code: code + "(", "my_nets cannot be imported: SyntaxError"),
        (lambda code: code.replace("images)).flatten(2)", "images.item()))"), "cannot be counted on torch's meta"),
        (lambda code: code.replace("torch.relu", "exit"), r"cannot be counted on torch's meta .*\(SystemExit: "),
        (lambda code: code.replace("self.width % 2", "self.width / 0"), "my_nets: ZeroDivisionError: division by zero"),
        (lambda code: code.replace("MyNet-{self.width}", "{self.widht}"), "my_nets: AttributeError: .*widht"),
        (lambda code: code.replace("config.width, classes)", "config.width, 3)"), r"gives \[2, 3\] .* not \[2, 10\]"),
    ],
)  # fmt: skip
def test_a_family_with_a_mistake_is_named(folder: Path, change: Callable[[str], str], says: str) -> None:
    (folder / "my_nets.py").write_text(change(MINE))
    with pytest.raises(ConfigError, match=says):
        make_cell(compose(FAMILY), ())


def changed(path: Path, code: str) -> str:
    """The identity of the cell after a file has this code, in a new process."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    forget()
    return identity(compose(FAMILY))


def test_the_code_of_the_module_is_part_of_the_identity(folder: Path) -> None:
    first = identity(compose(FAMILY))
    assert changed(folder / "my_nets.py", MINE + "\n# else\n") != first
    assert changed(folder / "my_nets.py", MINE) == first
    assert changed(folder / "beside.py", "") == first


def test_so_is_that_of_what_it_imports_from_beside_it(folder: Path) -> None:
    (folder / "my_blocks.py").write_text("RATIO = 2")
    first = changed(folder / "my_nets.py", MINE + "import my_blocks\n")
    assert changed(folder / "my_blocks.py", "RATIO = 3") != first


def test_and_of_all_files_of_a_package(folder: Path) -> None:
    found = set()
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "nets.py").write_text(MINE)
    for code in ("RATIO = 2", "RATIO = 3"):
        (folder / "my_lab" / "blocks.py").write_text(code)
        forget()
        found.add(identity(compose(["model.family=my_lab.nets"])))
    assert len(found) == 2


def test_a_cell_is_not_trained_with_other_code_than_it_was_asked_for_with(folder: Path) -> None:
    config = compose(FAMILY)
    changed(folder / "my_nets.py", MINE + "\n# else\n")
    with pytest.raises(ConfigError, match="the code of my_nets changed since this cell was asked for"):
        parse_config(config)


def test_it_trains_and_why_says_that_its_code_changed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = (
        *(text for text in SMALL if not text.startswith("model")),
        "model.family=my_nets",
        f"runs={folder}",
    )
    cell = make_cell(compose(texts), texts)
    found = run(cell, Interruption())
    assert found.state == "finished"
    (responses,) = [event["responses"] for event in found.events if event["event"] == "layer_responses"]
    assert [name for name, _ in responses] == ["classifier"]
    assert found.attempts[0]["realised"]["parameters"] == cell.parameters
    assert record.read(folder / cell.identity).cell["config"]["model.groups"] == 1, (
        "neutral in a ResNet alone"
    )
    changed(folder / "my_nets.py", MINE + "\n# else\n")
    assert main(["why", " ".join(texts), "--runs", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("The code of my_nets changed.\n")


def test_the_command_line_takes_its_keys(folder: Path, door: Callable[..., object]) -> None:
    """Hydra itself knows only those of conf/."""
    texts = (*(text for text in SMALL if not text.startswith(("model", "runs"))), "model.family=my_nets")
    done = door("-m", *texts, "recipe.steps=2", "recipe.drops=[]", "model.width=4,6", "hydra.launcher.jobs=2")
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    assert "MyNet-6 seed 0" in done.stdout  # type: ignore[attr-defined]
    shown = door(*texts, "model.width=6", "--cfg", "job", "--package", "model").stdout  # type: ignore[attr-defined]
    assert shown.splitlines()[1:6] == ["family: my_nets", "width: 6", "gate: none", "pools:", "- 2"]


def test_a_key_of_ours_may_mean_something_else_there() -> None:
    config = {"model.depth": "deep", "recipe.batch_size": 32, "trainer.precision": "32"}
    assert wrong_setting(config) == 'its config has model.depth="deep"'
    theirs = {**config, "model.family": "my_nets"}
    assert wrong_setting(theirs) == ""
    cell = {"config": theirs, "parameters": 1, "multiply_adds": 1}
    assert work(cell, 1).layers == USUAL_LAYERS


def test_a_cell_without_depth_is_told_apart_by_its_seed(folder: Path) -> None:
    assert sweep(request(FAMILY), []).manifest.factors == ("seed",)
