"""Folders of images as people have them: what is read, what is said of the rest, what is refused."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ablations.sweep.compose import compose, make_cell
from ablations.sweep.preflight import check_data
from lightning_module.data.folders import Files, LeftOut, class_names, find
from lightning_module.support.errors import ConfigError


def place(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")


def found(root: Path) -> tuple[Files, LeftOut]:
    left_out = LeftOut(root)
    return find(root / "train", class_names(root / "train", "R", left_out), "R", left_out), left_out


def test_dot_files_are_nobodys_and_endings_may_be_of_capitals(tmp_path):
    place(
        tmp_path, "train/a/._1.png", "train/a/.DS_Store", "train/a/2.JPEG", "train/a/1.pNg", "train/b/3.tif"
    )
    place(tmp_path, "train/.DS_Store", "train/.git/1.png")
    files, left_out = found(tmp_path)
    assert files.paths.tolist() == [b"a/1.pNg", b"a/2.JPEG", b"b/3.tif"]
    assert files.labels.tolist() == [0, 0, 1]
    assert not left_out.counts


def test_what_is_left_out_is_counted_and_named(tmp_path):
    place(tmp_path, "train/a/1.png", "train/a/old/2.png", "train/a/old/older/3.jpg", "train/a/old/.4.png")
    place(tmp_path, "train/a/notes.txt", "train/a/old/5.gif", "train/b/1.png", "train/b/6", "train/README")
    place(tmp_path, "train/a/old/.thumbnails/1.png")
    files, left_out = found(tmp_path)
    assert len(files) == 2
    endings = ".jpeg .jpg .png .webp .bmp .ppm .tif .tiff"
    assert str(left_out) == (
        "left out are files beside the class folders (1, such as train/README), "
        f"files without one of the endings {endings} (3, such as train/a/notes.txt), "
        "images in sub-folders of a class (2, such as train/a/old/2.png)"
    )


def test_a_class_without_images_says_what_it_has_instead(tmp_path):
    place(tmp_path, "train/a/images/1.JPEG", "train/a/images/2.JPEG", "train/a/boxes.txt")
    with pytest.raises(
        ConfigError, match=r"train/a holds no images; .* images in sub-folders .*.2, .*a/images/1.JPEG"
    ):
        found(tmp_path)


def test_links_to_images_and_to_classes_are_followed(tmp_path):
    place(tmp_path, "train/a/1.png", "elsewhere/2.png")
    (tmp_path / "train/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train/a/3.png").symlink_to(tmp_path / "elsewhere/2.png")
    assert found(tmp_path)[0].paths.tolist() == [b"a/1.png", b"a/3.png", b"b/2.png"]


@pytest.mark.parametrize("where", ["train/a/2.png", "train/c"])
@pytest.mark.parametrize("what", ["link to nothing", "link to itself", "pipe"])
def test_what_cannot_be_read_is_refused_before_any_work(tmp_path, where, what):
    place(tmp_path, "train/a/1.png", "train/b/1.png")
    odd = tmp_path / where
    match what:
        case "link to nothing":
            odd.symlink_to("nowhere")
        case "link to itself":
            odd.symlink_to(odd)
        case "pipe":
            os.mkfifo(odd)  # whoever opens it waits for a writer
    with pytest.raises(
        ConfigError, match=rf"data.root=R: .*{where} (is neither a file nor|cannot be read .*symbolic)"
    ):
        found(tmp_path)


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    place(tmp_path, "train/a/1.png", "train/a/2.png/3.png")
    files, left_out = found(tmp_path)
    assert files.paths.tolist() == [b"a/1.png"]
    assert left_out.examples == {"images in sub-folders of a class": "train/a/2.png/3.png"}


def test_a_name_that_is_no_text_can_be_read(tmp_path):
    place(tmp_path, "train/a/1.png")
    (tmp_path / "train/a").rename(tmp_path / "train" / os.fsdecode(b"\xe9"))
    files, _ = found(tmp_path)
    assert files.paths.tolist() == [b"\xe9/1.png"]


def cell(root: Path, classes: int = 2):
    texts = ("data=imagenet", "model=resnet_imagenet", "recipe=he2015_imagenet", f"data.root={root}")
    return make_cell(compose((*texts, "recipe.batch_size=2", f"data.classes={classes}")), texts)


def test_a_user_is_told_once_for_all_cells(tmp_path, caplog):
    place(
        tmp_path, *(f"{part}/{name}/1.png" for part in ("train", "val") for name in "ab"), "val/b/sub/2.png"
    )
    other = (
        "data=imagenet",
        "data.pca=0.2",
        "data.classes=2",
        "recipe.batch_size=2",
        "model=resnet_imagenet",
        f"data.root={tmp_path}",
    )
    with caplog.at_level(logging.WARNING):
        check_data([cell(tmp_path), make_cell(compose(("recipe=he2015_imagenet", *other)), other)])
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"data.root={tmp_path}: left out are images in sub-folders of a class (1, such as val/b/sub/2.png)"
    ]


@pytest.mark.parametrize("lacks", ["train", "val"])
def test_a_class_that_one_part_lacks_is_named_with_the_part_that_has_it(tmp_path, lacks):
    has = "val" if lacks == "train" else "train"
    place(tmp_path, "train/b/1.png", "val/b/1.png", f"{has}/japan/1.png", f"{lacks}/z/1.png")
    with pytest.raises(ConfigError, match=f"same classes; japan is in one only, {has}"):
        check_data([cell(tmp_path)])
