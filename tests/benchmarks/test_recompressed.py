"""benchmarks/recompressed.py tests the network of the cell, on its own test images and on changed ones."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from small import ROOT, SMALL

from ablations.sweep.compose import compose, make_cell
from lightning_module.train import run
from lightning_module.training.interruption import Interruption

sys.path.insert(0, str(ROOT / "benchmarks"))
import recompressed


def test_it_begins_at_the_error_of_the_record(tmp_path, capsys):
    random = np.random.default_rng(0)
    splits = {
        f"{name}_images": random.integers(0, 256, (n, 16, 16, 3), np.uint8)
        for name, n in (("train", 64), ("test", 70))
    }
    np.savez(tmp_path / "colour.npz", train_labels=np.arange(64) % 4, test_labels=np.arange(70) % 4, **splits)
    overrides = [
        *SMALL,
        "data=arrays",
        f"data.root={tmp_path}/colour.npz",
        f"runs={tmp_path}/runs",
        "trainer=cpu",
    ]
    cell = make_cell(compose(overrides), tuple(overrides))
    record = run(cell, Interruption())
    recompressed.main(cell.run_folder)
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first == f"{cell.name}, step 30 of 30: test error {record.last['test/error']:.2f} %"
    assert [int(row.split()[0]) for row in rows] == list(recompressed.QUALITIES)
    error = record.last["test/error"]
    for row in rows:
        _, change, after, difference, lost, won = map(float, row.split())
        assert change > 1
        assert difference == pytest.approx(after - error, abs=0.02)
        assert difference == pytest.approx((lost - won) / 0.7, abs=0.02)


def test_a_lower_quality_changes_more():
    images = torch.randint(
        0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    changes = [
        (recompressed.recompressed(images, quality).float() - images).abs().mean()
        for quality in recompressed.QUALITIES
    ]
    assert changes == sorted(changes)
