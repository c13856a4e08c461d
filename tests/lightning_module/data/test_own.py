"""Data of one's own: checked, told apart by their content and not by their path, and trained on."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small import ROOT, SMALL

from ablations.__main__ import main
from ablations.study import Study, grid
from ablations.sweep.compose import compose, make_cell
from ablations.sweep.plan import sweep
from ablations.sweep.request import request, study_request
from ablations.sweep.results import levels_of
from lightning_module.cell import record
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import identity
from lightning_module.data import arrays, found
from lightning_module.data.images import load
from lightning_module.support.disk import DiskCache
from lightning_module.support.errors import ConfigError

SIZES = {"train": 40, "test": 15, "val": 9}
ARRAYS = ("data=arrays", "recipe=quick", "recipe.batch_size=8", "model.depth=8")

MINE = """
import numpy as np

def load():
    with np.load("grey.npz") as file:
        return dict(file)

def broken():
    raise OSError("no disk")

def leaving():
    raise SystemExit("no data")

def listed():
    return [1, 2]
"""


def made(*shape: int, classes: int = 3) -> dict[str, Any]:
    """Splits of random images of this shape."""
    random = np.random.default_rng(0)
    images = {f"{name}_images": random.integers(0, 256, (n, *shape), np.uint8) for name, n in SIZES.items()}
    return images | {f"{name}_labels": np.arange(n) % classes for name, n in SIZES.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with grey and colour images, and a function that loads the grey ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(found, "CACHE", DiskCache("data", [], tmp_path / "cache"))
    np.savez("grey.npz", **made(10, 8))
    np.savez_compressed("colour.npz", **made(8, 8, 3, classes=4))
    Path("my_data.py").write_text(MINE)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """Make of this process a new one."""
    for cache in (found._by_function, found._in_folder, arrays._of_function, load):
        cache.cache_clear()
    sys.modules.pop("my_data", None)


def test_the_network_is_that_of_the_images(folder: Path) -> None:
    digits = make_cell(compose(["model.depth=8"]), ()).parameters
    config = compose([*ARRAYS, "data.root=grey.npz"])
    facts = {key: config["data"][key] for key in ("classes", "train_images", "shape")}
    assert facts == {"classes": 3, "train_images": 40, "shape": [1, 10, 8]}
    assert make_cell(config, ()).parameters == digits - 2 * 9 * 16 - 7 * 65
    colour = make_cell(compose([*ARRAYS, "data.root=colour.npz"]), ())
    assert colour.parameters == digits - 6 * 65


def test_the_file_of_the_document_is_data(folder: Path) -> None:
    document = (ROOT / "docs" / "data.md").read_text("utf-8")
    exec(document.split("```python\n")[1].split("```")[0])
    assert compose([*ARRAYS, "data.root=mine.npz"])["data"]["train_images"] == 1400


def test_the_content_is_the_identity_and_the_path_is_not(folder: Path) -> None:
    first = identity(compose([*ARRAYS, "data.root=grey.npz"]))
    changed = made(10, 8)
    (folder / "elsewhere").mkdir()
    np.savez_compressed("elsewhere/copy.npz", **changed)
    changed["val_images"][3, 2, 1] ^= 1
    np.savez("pixel.npz", **changed)
    assert identity(compose([*ARRAYS, f"data.root={folder}/elsewhere/copy.npz"])) == first
    assert identity(compose([*ARRAYS, "data.function=my_data.load"])) == first
    assert identity(compose([*ARRAYS, "data.root=pixel.npz"])) != first


def test_a_file_that_changed_since_it_was_planned_is_not_trained_on(folder: Path) -> None:
    config = parse_config(compose([*ARRAYS, "data.root=grey.npz"])).data
    assert len(load(config).others["val"]) == 9  # type: ignore[attr-defined]
    times, changed = os.stat("grey.npz"), made(10, 8)
    changed["train_labels"][0] ^= 1
    np.savez("grey.npz", **changed)
    os.utime("grey.npz", ns=(times.st_atime_ns, times.st_mtime_ns))
    forget()
    with pytest.raises(ConfigError, match="data.root=grey.npz changed since this cell was asked for"):
        load(config)
    assert compose([*ARRAYS, "data.root=grey.npz"])["data"]["content"] != config.content  # type: ignore[union-attr]


def test_a_study_of_ours_is_asked_of_them(folder: Path) -> None:
    asked = study_request("degradation", ["data=arrays", "data.root=grey.npz"])
    assert len(asked.overrides) == len(study_request("degradation", []).overrides)
    assert compose(asked.overrides[0])["data"]["shape"] == [1, 10, 8]


def test_a_study_tells_its_cells_apart_by_the_files_of_their_data(folder: Path) -> None:
    files = ("colour.npz", "grey.npz")
    study = Study("?", "mine", ARRAYS, grid({"data.root": files}), rows="data.root")
    manifest = sweep(request([*ARRAYS, "data.root=colour.npz,grey.npz"]), []).manifest
    assert tuple(cell["data.root"] for cell in levels_of(manifest, study)) == files


def test_nothing_is_unpickled(folder: Path) -> None:
    class Opens:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, ("opened", "w")

    np.savez("evil.npz", **{**made(8, 8), "train_labels": np.array([Opens()] * 40, dtype=object)})
    with pytest.raises(ConfigError, match="evil.npz cannot be read .it holds Python objects"):
        compose([*ARRAYS, "data.root=evil.npz"])
    assert not Path("opened").exists()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("test_images", None, "has no test_images but test_labels, train_images"),
        ("test_label", np.arange(15), "has no test_labels but .*; is test_label meant"),
        ("new_images", np.zeros((2, 10, 8), np.uint8), "has no new_labels"),
        ("train_images", np.ones((40, 10, 8)), r"train_images are float64; they must be uint8 .*255 \* images"),
        ("train_images", np.full((40, 10, 8), np.nan), "train_images are float64"),
        ("train_images", np.zeros((40, 80), np.uint8), r"have the shape \[40, 80\]; it must be"),
        ("train_images", np.zeros((40, 3, 8, 8), np.uint8), "the channels come last"),
        ("train_images", np.zeros((0, 10, 8), np.uint8), "there are none"),
        ("test_images", np.zeros((15, 8, 8), np.uint8), "train and test must be alike, .* heights are 10 and 8"),
        ("val_labels", np.arange(8), "has 9 val_images but 8 val_labels"),
        ("val_labels", np.arange(9.0), "val_labels are float64; they must be whole numbers"),
        ("val_labels", np.full((9, 2), 1), r"an image has one label: \[N\] or \[N, 1\]"),
        ("val_labels", np.full((9, 1), -1), "val_labels go down to -1"),
        ("val_labels", np.full(9, 2**63, np.uint64), "val_labels go up to 9223372036854775808"),
        ("val_labels", np.full(9, 3), "val_labels go up to 3, those of train only to 2"),
        ("train_labels", np.zeros(40, int), "all train_labels are 0; there must be two classes"),
        ("train_labels", np.arange(40) * 9, "train_labels go up to 351, more than there are images"),
    ],
)  # fmt: skip
def test_arrays_with_a_mistake_are_one_sentence(folder: Path, key: str, value: Any, says: str) -> None:
    given = made(10, 8)
    given.pop("test_labels" if key == "test_label" else key, None)
    np.savez("bad.npz", **given, **({} if value is None else {key: value}))
    with pytest.raises(ConfigError, match=says):
        compose([*ARRAYS, "data.root=bad.npz"])


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("", "data=arrays needs data.root=FILE.npz or data.function=MODULE.FUNCTION$"),
        ("data.root=grey.npz data.function=my_data.load", "and not both"),
        ("data.root=gray.npz", "there is no such file; did you mean grey.npz"),
        ("data.root=.", "is a folder; .* data=folder"),
        ("data.root=my_data.py", "is not a whole .npz file"),
        ("data.root=grey.npz data.classes=3", "data.classes=3 is not a key of data=arrays"),
        ("data.root=grey.npz data.padding=9", "data.padding=9 is not allowed; it lies between 0 and 8"),
        ("data.root=grey.npz data.normalisation=constants data.mean=[1,2,3]", "not one number, for grey"),
        ("data.root=grey.npz recipe.batch_size=64", "the largest valid size is 40"),
        ("data.root=grey.npz mode=benchmark", "mode=benchmark is of square images; .* 10 x 8"),
        ("data.function=load", "is no import path of a function"),
        ("data.function=his_data.load", "there is no module his_data"),
        ("data.function=my_data.lode", "my_data has no function lode; .*did you mean load"),
        ("data.function=my_data.broken", "my_data.broken raised OSError: no disk"),
        ("data.function=my_data.leaving", "my_data.leaving raised SystemExit: no data"),
        ("data.function=my_data.listed", "my_data.listed returned list; it must return a dictionary"),
        ("data=folder", "data=folder needs data.root=FOLDER"),
        ("data=folder data.root=.", "train cannot be read .*must be the folder that holds train/<class>"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(folder: Path, texts: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_cell(compose([*ARRAYS, *texts.split()]), ())


def test_a_folder_is_its_names_and_bytes(folder: Path) -> None:
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            place = Path("pets", part, name)
            place.mkdir(parents=True)
            for shade in range(3):
                Image.new("RGB", (20 + shade, 16), (shade, 0, 0)).save(place / f"{shade}.png")
    texts = [
        *("data=folder", "data.size=8", "data.short_side=[8,9]", "data.test_short_side=8"),
        *("recipe.batch_size=4", "model.depth=8"),
    ]
    shutil.copytree("pets", "copy")
    config = compose([*texts, "data.root=pets"])
    assert config["data"]["classes"] == 2
    assert identity(compose([*texts, "data.root=copy"])) == identity(config)
    typed = parse_config(config).data
    assert load(typed).train_images == 6
    Image.new("RGB", (20, 16), (9, 0, 0)).save("pets/val/dog/0.png")
    forget()
    with pytest.raises(ConfigError, match="data.root=pets changed since this cell was asked for"):
        load(typed)
    assert identity(compose([*texts, "data.root=pets"])) != identity(config)


def test_they_are_trained_on_and_named_by_their_file(
    folder: Path, door: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [*SMALL, *ARRAYS, "recipe.steps=6", "recipe.drops=[]", "trainer=cpu", "runs=runs"]
    done = door("-m", *texts, "data.root=grey.npz,colour.npz")
    assert done.returncode == 0, done.stderr
    assert "ResNet-8 seed 0, data=colour  finished" in done.stdout
    cell = make_cell(compose([*texts, "data.function=my_data.load"]), ())
    trained = record.read(folder / "runs" / cell.identity)
    assert trained.state == "finished"
    assert {"test/error", "val/error"} <= trained.last.keys()
    assert main(["why", " ".join([*texts, "data.root=colour.npz", "seed=1"]), "--runs", "runs"]) == 0
    changed = made(10, 8)
    changed["train_images"][0, 0, 0] ^= 1
    np.savez("grey.npz", **changed)
    assert main(["why", " ".join([*texts, "data.root=grey.npz"]), "--runs", "runs"]) == 0
    assert capsys.readouterr().out.endswith("The images or labels are others.\n")
