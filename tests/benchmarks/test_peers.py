"""What benchmarks/ measures of each loop is what the loop does for the steps that are counted, no less."""

from __future__ import annotations

import against_peers
import numpy as np
import peers
import pytest
import torch

from lightning_module import fit
from lightning_module.cell.config import parse_config
from lightning_module.data.images import DataSet, Images

CPU = torch.device("cpu")


@pytest.mark.parametrize("steps", [3, 11, 40])
@pytest.mark.parametrize("kind", [peers.DeviceResident, peers.Raw])
def test_all_augmentation_of_the_measured_steps_is_within_the_clock(monkeypatch, kind, steps):
    made, at = [], []

    class Setting(peers.Setting):
        def now(self):
            at.append(sum(made))
            return np.zeros(2)

    def randint(high, size, **more):
        made.append(size[1])  # images that get their offsets
        return plain(high, size, **more)

    plain = torch.randint
    images, labels = plain(256, (100, 3, 8, 8), dtype=torch.uint8), plain(10, (100,))
    network = lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))  # noqa: E731
    loop = kind(Setting(images, labels, network, 5, CPU, "32", 1))
    monkeypatch.setattr(torch, "randint", randint)
    loop(steps)
    assert len(at) == 2
    assert steps * 5 <= at[1] - at[0] < (steps + 20) * 5
    assert at[0] == peers.WARM * 5


def test_ours_is_measured_in_the_default_calls_and_the_clock_read_only_at_both_ends(monkeypatch):
    clocks = []

    class Clock(against_peers.Clock):
        def __init__(self, *more):
            super().__init__(*more)
            clocks.append(self)

    monkeypatch.setattr(against_peers, "Clock", Clock)
    monkeypatch.setattr(fit, "load", fit.load)  # Ours puts its own there
    monkeypatch.setattr(against_peers, "IMAGES", 400)
    cell = against_peers.cell_of(CPU, "data=cifar10", "model.depth=8", "model.width=1", "recipe.batch_size=4")
    part = Images(*against_peers.synthetic(32))
    reads = []

    def now():
        reads.append(len(reads))
        return np.array([10.0, 5.0]) * len(reads)

    ours = against_peers.Ours(cell, DataSet(parse_config(cell.config).data, part, part), now)
    default = cell.config["trainer"]["steps_per_call"]
    assert list(ours(3 * default)) == [10 / 3 / default, 5 / 3 / default]
    assert (len(reads), clocks[0].calls) == (2, 4)
