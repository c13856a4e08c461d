"""benchmarks/recompressed.py tests the network of a cell on changed images, and writes such images to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import recompressed
import torch
from small import SMALL

from ablations.sweep.compose import compose, make_cell
from lightning_module.cell.record import read
from lightning_module.train import run
from lightning_module.training.interruption import Interruption


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """A small cell in colour, trained."""
    folder = tmp_path_factory.mktemp("colour")
    random = np.random.default_rng(0)
    splits = {
        f"{name}_images": random.integers(0, 256, (n, 16, 16, 3), np.uint8)
        for name, n in (("train", 64), ("test", 70))
    }
    np.savez(folder / "colour.npz", train_labels=np.arange(64) % 4, test_labels=np.arange(70) % 4, **splits)
    overrides = [
        *SMALL,
        "data=arrays",
        f"data.root={folder}/colour.npz",
        f"runs={folder}/runs",
        "trainer=cpu",
    ]
    cell = make_cell(compose(overrides), tuple(overrides))
    run(cell, Interruption())
    return cell.run_folder


def test_it_begins_at_the_error_of_the_record(run_folder, capsys):
    recompressed.print_table(run_folder)
    first, _, *rows = capsys.readouterr().out.splitlines()
    record = read(run_folder)
    error = record.last["test/error"]
    assert first == f"{record.cell['name']}, step 30 of 30: test error {error:.2f} %"
    assert [int(row.split()[0]) for row in rows] == list(recompressed.QUALITIES)
    for row in rows:
        _, change, other, after, difference, lost, won = map(float, row.split())
        assert change > 1
        assert other == pytest.approx(change, rel=0.2), "noise has been through no JPEG"
        assert difference == pytest.approx(after - error, abs=0.02)
        assert difference == pytest.approx((lost - won) / 0.7, abs=0.02)


def test_the_copy_holds_every_split_recompressed_in_its_order(run_folder):
    file = run_folder.parent.parent / "quality40.npz"
    recompressed.write_copy(run_folder, 40, file)
    original, copy = np.load(file.with_name("colour.npz")), np.load(file)
    assert sorted(copy) == sorted(original)
    for split in ("train", "test"):
        assert (copy[f"{split}_labels"] == original[f"{split}_labels"]).all()
        before, after = (torch.from_numpy(arrays[f"{split}_images"]) for arrays in (original, copy))
        again = recompressed.recompressed(before.permute(0, 3, 1, 2), 40).permute(0, 2, 3, 1)
        assert (after == again).all()
        assert (after != before).any()


def test_a_lower_quality_changes_more():
    images = torch.randint(
        0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    changes = [
        (recompressed.recompressed(images, quality).float() - images).abs().mean()
        for quality in recompressed.QUALITIES
    ]
    assert changes == sorted(changes)
