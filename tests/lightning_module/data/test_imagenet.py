"""Photographs in folders: real ones, cut from the two that scikit-learn bundles."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch.utils._python_dispatch import TorchDispatchMode

from ablations.sweep.compose import compose, make_cell
from ablations.verdicts.images import right_images
from lightning_module.cell.config import parse_config
from lightning_module.cell.record import Record, read
from lightning_module.data import imagenet, photographs
from lightning_module.data.config import ImageNetConfig
from lightning_module.data.decode import ImageError
from lightning_module.data.imagenet import ImageNet
from lightning_module.data.images import load
from lightning_module.support.errors import ConfigError
from lightning_module.train import run
from lightning_module.training.interruption import Interruption

Image = pytest.importorskip("PIL.Image")

CPU = torch.device("cpu")
SMALL = (
    "data=imagenet", "data.classes=2", "data.size=32", "data.short_side=[36,48]", "data.test_short_side=40",
    "data.test_scales=[32,48]", "data.workers=0", "recipe=he2015_imagenet", "recipe.batch_size=8",
    "recipe.steps=6", "recipe.drops=[4]", "recipe.learning_rate=0.01", "model=resnet_imagenet", "model.depth=18",
    "trainer=cpu", "trainer.progress=false", "logger=none",
)  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; per class 10 training and 5 or 6 test images, no two of the same size or kind."""
    root = tmp_path_factory.mktemp("photographs")
    for name, photograph in zip(("flower", "china"), load_sample_images().images, strict=True):
        for number in range(16 if name == "china" else 15):
            place = root / ("train" if number < 10 else "val") / name
            place.mkdir(parents=True, exist_ok=True)
            left, top = 25 * number, 17 * number
            cut = Image.fromarray(photograph[top : top + 60 + 7 * number, left : left + 110 - 3 * number])
            if number == 3:
                cut = cut.convert("L")
            cut.save(place / f"{number:02}.{'png' if number % 2 else 'JPEG'}")
        (root / "train" / name / "notes.txt").write_text("not an image")
    return root


def config(folder: Path, *overrides: str) -> ImageNetConfig:
    data = parse_config(compose((*SMALL, f"data.root={folder}", *overrides))).data
    assert isinstance(data, ImageNetConfig)
    return data


def source(folder: Path, *overrides: str) -> ImageNet:
    found = load(config(folder, *overrides))
    assert isinstance(found, ImageNet)
    return found


def stream(data: ImageNet, seed: int = 7, rank: int = 0, processes: int = 1):
    return data.stream(batch_size=8, seed=seed, rank=rank, processes=processes, device=CPU)


def test_a_batch_depends_on_seed_and_step_alone(folder):
    """Not on the steps before, and not on how many workers decode ahead."""
    workers = stream(source(folder, "data.workers=2"))
    for step in (0, 1, 2, 5, 3):
        for a, b in zip(workers.batch(step), stream(source(folder)).batch(step), strict=True):
            assert torch.equal(a, b)
    first, other = (stream(source(folder), seed=seed).batch(3)[0] for seed in (7, 8))
    assert not torch.equal(first, other)


def test_every_image_once_per_epoch_and_shares_are_the_batch(folder):
    data = source(folder)
    whole, shares = stream(data), [stream(data, rank=rank, processes=2) for rank in (0, 1)]
    indices = [index for step in range(10) for _, index in whole.places(step)]
    assert sorted(indices[:20]) == sorted(indices[20:40]) == list(range(20))
    assert indices[:20] != indices[20:40]
    joined = [torch.cat(parts) for parts in zip(*(share.batch(2) for share in shares), strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(whole.batch(2), joined, strict=True))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_over_all_processes_each_test_image_comes_once(folder, processes):
    data = source(folder)
    for name in ("test", *data.final_tests):
        parts = [
            list(data.tests(batch_size=3, rank=rank, processes=processes, device=CPU)[name])
            for rank in range(processes)
        ]
        labels = torch.cat([labels for part in parts for _, labels in part])
        assert torch.bincount(labels).tolist() == [6, 5]
        pictures = [[view[0].numpy().tobytes() for views, _ in part for view in views[0]] for part in parts]
        assert len({picture for part in pictures for picture in part}) == 11
        whole = data.tests(batch_size=3, rank=0, processes=1, device=CPU)[name]
        order = [view[0].numpy().tobytes() for views, _ in whole for view in views[0]]
        assert pictures == [order[rank::processes] for rank in range(processes)]


def test_the_views_of_a_test_image(folder):
    data = source(folder)
    tests = data.tests(batch_size=1, rank=0, processes=1, device=CPU)
    (centre,), _ = next(iter(tests["test"]))
    (ten,), _ = next(iter(tests["test_ten_crop"]))
    scales, _ = next(iter(tests["test_multi_scale"]))
    assert centre.shape == (1, 1, 3, 32, 32)
    assert ten.shape == (1, 10, 3, 32, 32)
    assert torch.equal(ten[:, :5].flip(-1), ten[:, 5:])
    assert torch.equal(ten[:, 0], centre[:, 0])
    # the first test image has 80 x 130 pixels
    assert [tuple(view.shape) for view in scales] == [(1, 1, 3, 52, 32), (1, 1, 3, 78, 48)]


def test_the_larger_crop_is_the_middle_of_a_larger_image(folder):
    data = source(folder, "data.final_tests=[crop_320]")
    tests = data.tests(batch_size=200, rank=0, processes=1, device=CPU)
    ((crop,), _), *_ = tests["test_crop_320"]
    assert crop.shape == (2, 1, 3, 320, 320)  # as many pixels as in 200 of 32 x 32
    (whole,), _ = data.tests(batch_size=1, rank=0, processes=1, device=CPU)["test_crop_320"].views[0]
    with data.val.open(0) as image:
        resized = np.asarray(image.convert("RGB").resize((320, 520), Image.Resampling.BILINEAR)).transpose(
            2, 0, 1
        )
    difference = np.abs(whole[0].numpy().astype(int) - resized[:, 100:420].astype(int))
    assert difference[:, 2:-2].max() <= 1  # a cut's border does not look beyond it


def test_a_crop_is_a_window_of_the_resized_image(folder):
    """Pillow's box against the obvious way: resize the whole image, then cut."""
    settings = replace(config(folder), size=64, short_side=(64, 64), test_short_side=96)
    image = Image.fromarray(load_sample_images().images[0]).crop((0, 0, 300, 200))
    resized = np.asarray(image.resize((144, 96), Image.Resampling.BILINEAR)).transpose(2, 0, 1).astype(int)
    found = photographs.ten_crops(image, settings).astype(int)
    for crop, (left, top) in zip(found, [(40, 16), (0, 0), (80, 0), (0, 32), (80, 32)], strict=False):
        difference = np.abs(crop - resized[:, top : top + 64, left : left + 64])
        assert difference[:, 2:-2, 2:-2].max() <= 1  # a cut's border does not look beyond it


def test_scale_jitter_draws_every_short_side_and_place(folder):
    settings, random = config(folder), np.random.default_rng(0)
    boxes = np.array([photographs.random_scale((100, 60), settings, random) for _ in range(4000)])
    sides = np.rint(60 * 32 / (boxes[:, 3] - boxes[:, 1])).astype(int)
    assert set(sides) == set(range(36, 49))
    assert boxes.min() == 0
    assert boxes[:, 2].max() == pytest.approx(100)
    assert boxes[:, 3].max() == pytest.approx(60)


def test_area_crops_stay_within_their_ranges(folder):
    settings, random = config(folder, "data.crop=area"), np.random.default_rng(0)
    boxes = np.array([photographs.random_area((200, 100), settings, random) for _ in range(2000)])
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share, aspect = wide * high / 20000, wide / high
    assert share.min() == pytest.approx(0.08, abs=0.01)
    assert aspect.min() == pytest.approx(0.75, abs=0.05)
    assert aspect.max() == pytest.approx(4 / 3, abs=0.05)
    assert boxes.min() >= 0
    assert (boxes[:, 2].max(), boxes[:, 3].max()) == (200, 100)
    never = replace(settings, area=(1.0, 1.0))
    assert photographs.random_area((200, 100), never, random) == (50, 0, 150, 100)


def test_colours_are_those_of_an_obvious_reference(folder):
    """Brightness, contrast and saturation pixel by pixel, in the order drawn, then the shift."""
    settings = replace(config(folder), jitter=0.4, pca=0.1)
    pixels = np.random.default_rng(1).uniform(0, 255, (3, 5, 5))
    for seed in range(20):
        change = photographs.colours(pixels.mean((1, 2)), settings, np.random.default_rng(seed))
        random, expected = np.random.default_rng(seed), pixels
        for kind in random.permutation(3):
            factor = 1 + random.uniform(-0.4, 0.4)
            grey = np.einsum("c,cyx->yx", photographs.GREY, expected)
            other = [np.zeros((5, 5)), np.full((5, 5), grey.mean()), grey][kind]
            expected = factor * expected + (1 - factor) * other
        shift = photographs.PCA_VECTORS @ (photographs.PCA_VALUES * random.normal(0, 0.1, 3))
        found = np.einsum("ck,kyx->cyx", change[:, :3], pixels) + change[:, 3, None, None]
        np.testing.assert_allclose(found, expected + shift[:, None, None], rtol=1e-4, atol=1e-3)


def test_a_batch_is_the_cut_with_its_colours_normalised(folder):
    data = source(folder, "data.jitter=0.4")
    train = stream(data)
    images, labels = train.batch(3)
    for image, label, (number, index) in zip(images, labels, train.places(3), strict=True):
        random = np.random.default_rng([7, 2, number])
        with data.train.open(index) as opened:
            pixels = photographs.train_view(opened, data.config, random)
        change = photographs.colours(pixels.mean((1, 2)), data.config, random)
        changed = np.einsum("ck,kyx->cyx", change[:, :3], pixels) + change[:, 3, None, None]
        mean, deviation = (
            np.array(value)[:, None, None] for value in (data.config.mean, data.config.deviation)
        )
        np.testing.assert_allclose(image, (changed - mean) / deviation, atol=1e-4)
        assert label == (b"flower" in data.train.paths[index])


def test_constants_are_copied_to_the_device_once(folder):
    """Each copy from Python's numbers makes the host wait for a GPU."""

    class Copies(TorchDispatchMode):
        names: ClassVar[list[str]] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(func.overloadpacket.__name__)
            return func(*args, **kwargs or {})

    chosen, pixels = config(folder, "data.mean=[1,2,3]"), torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    first = imagenet._normalised(pixels, chosen)
    with Copies() as copies:
        again = imagenet._normalised(pixels, chosen)
    assert "div" in copies.names and "lift_fresh" not in copies.names
    assert torch.equal(first, again)


def test_the_shift_of_colours_has_the_published_size(folder):
    """Measured on what colours() gives: no rotation, and the covariance of the principal components."""
    settings = config(folder)
    changes = np.array([
        photographs.colours(np.zeros(3), settings, np.random.default_rng(seed)) for seed in range(4000)
    ])  # fmt: skip
    assert (changes[:, :, :3] == np.eye(3)).all()
    vectors, values = photographs.PCA_VECTORS, 0.1 * photographs.PCA_VALUES
    np.testing.assert_allclose(np.cov(changes[:, :, 3].T), vectors @ np.diag(values**2) @ vectors.T, atol=2)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)


def broken(folder: Path, tmp_path: Path, how: str) -> tuple[str, ...]:
    root = tmp_path / "broken"
    for part in ("train", "val"):
        for name in ("flower", "china"):
            (root / part / name).mkdir(parents=True)
            (root / part / name / "1.png").symlink_to(folder / "train" / name / "01.png")
    match how:
        case "no folder":
            root = tmp_path / "nowhere"
        case "classes":
            return f"data.root={root}", "data.classes=1000"
        case "empty class":
            (root / "train" / "china" / "1.png").unlink()
        case "other classes":
            (root / "val" / "china").rename(root / "val" / "japan")
        case "no classes":
            for name in ("flower", "china"):
                (root / "val" / name / "1.png").unlink()
                (root / "val" / name).rmdir()
    return (f"data.root={root}",)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no folder", r"nowhere/train cannot be read .*train/<class>"),
        ("classes", "data.classes=1000 but .* has 2 class folders; set data.classes=2"),
        ("empty class", "train/china holds no images"),
        ("other classes", "same classes; china is in one only"),
        ("no classes", "val holds no folders"),
    ],
)
def test_bad_folders_are_one_sentence(folder, tmp_path, how, said):
    with pytest.raises(ConfigError, match=said) as error:
        source(folder, *broken(folder, tmp_path, how))
    assert "\n" not in str(error.value)


def test_without_pillow_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "residual-ablations\[imagenet\]"'):
        source(folder, "data.pca=0.2")


def test_a_class_folder_that_cannot_be_listed_is_one_sentence(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if path.name in ("flower", "china"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    data = config(folder, "data.pca=0.3")
    monkeypatch.setattr("os.scandir", refuse)  # root, who may run this, may list everything
    with pytest.raises(ConfigError, match=r"train/(flower|china) cannot be read .Permission denied") as error:
        load(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_in_one_sentence(folder, tmp_path, workers):
    overrides = broken(folder, tmp_path, "nothing")
    damaged = tmp_path / "broken" / "train" / "china" / "1.png"
    damaged.unlink()
    damaged.write_bytes(b"not a photograph")
    with pytest.raises(ImageError, match=r"^[^\n]*china/1.png cannot be read as an image [^\n]*$"):
        stream(source(folder, *overrides, f"data.workers={workers}")).batch(0)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.short_side=[20,48]", "both at least 32"),
        ("data.area=[0.5,1.5]", "largest valid value is 1"),
        ("data.final_tests=[five_crop]", "ten_crop, multi_scale, crop_320"),
        ("data.mean=[1,2]", "three numbers"),
        ("data.padding=4", "is not a key"),
    ],
)
def test_bad_values_are_one_sentence(folder, override, said):
    with pytest.raises(ConfigError, match=said):
        config(folder, override)


def train(runs: Path, folder: Path, *overrides: str, interruption: Interruption | None = None) -> Record:
    texts = (*SMALL, f"data.root={folder}", f"runs={runs}", *overrides)
    return run(make_cell(compose(texts), texts), Interruption() if interruption is None else interruption)


class AfterCalls(Interruption):
    """Asks to stop after so many looks."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def __bool__(self) -> bool:
        self.calls -= 1
        return self.calls < 0


@pytest.mark.parametrize(("part", "workers"), [("train", 1), ("val", 0)])
def test_a_cell_that_meets_a_broken_image_fails_and_names_it(folder, tmp_path, part, workers):
    overrides = broken(folder, tmp_path, "nothing")
    damaged = tmp_path / "broken" / part / "china" / "1.png"
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:-2000])
    texts = ("model.width=8", "recipe.steps=2", "recipe.drops=[]", f"data.workers={workers}", *overrides)
    failed = train(tmp_path / "runs", folder, *texts)
    assert failed.state == "failed"
    assert failed.status["error"].startswith(f"ImageError: {damaged} cannot be read as an image (")
    damaged.write_bytes(content)
    assert train(tmp_path / "runs", folder, *texts).state == "finished"


def test_an_image_as_thin_as_a_thread_is_trained_on_and_refused_by_name_where_it_would_fill_memory(
    tmp_path, folder
):
    overrides = broken(folder, tmp_path, "nothing")
    for part in ("train", "val"):
        Image.new("L", (60_000, 1)).save(tmp_path / "broken" / part / "china" / "1.png")
    data = source(folder, *overrides, "data.test_scales=[640]")
    assert stream(data).batch(0)[0].shape == (8, 3, 32, 32)
    tests = data.tests(batch_size=1, rank=0, processes=1, device=CPU)
    assert len(list(tests["test_ten_crop"])) == 2
    with pytest.raises(ImageError, match=r"val/china/1.png cannot be .*38400000 x 640 pixels .* too many"):
        list(tests["test_multi_scale"])


def losses(record: Record) -> list[tuple[float, float]]:
    return [(epoch["train/loss"], epoch["test/loss"]) for epoch in record.epochs]


def test_a_cut_run_goes_on_with_the_same_images(folder, tmp_path):
    texts = ("model.width=8", "trainer.steps_per_call=1")
    whole = train(tmp_path / "whole", folder, *texts)
    first = train(tmp_path / "cut", folder, *texts, interruption=AfterCalls(3))
    assert first.state == "killed"
    second = train(tmp_path / "cut", folder, *texts, "data.workers=2")
    assert second.state == whole.state == "finished"
    assert second.attempts[1]["step"] == 4
    assert losses(second) == losses(whole)


def test_two_processes_test_each_image_once(folder, tmp_path):
    texts = ("model.width=8", "recipe.steps=2", "recipe.drops=[]")
    one = train(tmp_path / "one", folder, *texts)
    two = train(tmp_path / "two", folder, *texts, "trainer.devices=2")
    for name in ("test/loss", "test_ten_crop/loss", "test_multi_scale/loss"):
        assert two.last[name] == pytest.approx(one.last[name], rel=1e-3)
    for record in (one, two):
        told = [event for event in record.events if event["event"] == "right_images"]
        assert [event["test"] for event in told] == ["test", "test_ten_crop", "test_multi_scale"]
        for test, key in itertools.product((event["test"] for event in told), ("error", "top5_error")):
            right = right_images(record.events, f"{test}/{key}")
            assert 100 * (~right).sum() / 11 == record.last[f"{test}/{key}"]


def test_the_imagenet_networks_train_by_the_door(folder, tmp_path, door):
    """plain-18 and ResNet-18, full width, with every test, on the 20 images that the folder has."""
    models = "model=plain_imagenet,resnet_imagenet"
    small = (
        "recipe.steps=6",
        "recipe.drops=[4]",
        "recipe.batch_size=4",
        "data.workers=1",
        f"data.root={folder}",
        "data.final_tests=[ten_crop,multi_scale,crop_320]",
    )
    done = door("-m", *SMALL, models, *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("left out are files without one of the endings") == 1
    assert "(2, such as train/china/notes.txt)" in done.stderr
    records = [read(path.parent) for path in (tmp_path / "runs").glob("*/record.jsonl")]
    assert len(records) == 2
    for record in records:
        assert record.state == "finished"
        assert record.cell["parameters"] == 11_003_714  # 511,974 fewer than with 1,000 classes
        for name in ("test", "test_ten_crop", "test_multi_scale", "test_crop_320"):
            assert np.isfinite(record.last[f"{name}/loss"])
            assert 0 <= record.last[f"{name}/error"] <= 100
            assert record.last[f"{name}/top5_error"] == 0  # of two classes
        assert "test_ten_crop/error" not in record.epochs[0]
