"""Which images are right, by a network of which it is known, on any number of processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from small import in_ranks
from torch import Tensor, nn

from ablations.verdicts.images import right_images
from lightning_module.data.config import DataConfig
from lightning_module.data.images import DataSet
from lightning_module.data.stream import Images
from lightning_module.training.evaluation import evaluate, packed

CPU, BATCH = torch.device("cpu"), 4
SIZES = (21, 2)
"""Test images: batches and bytes that are not full, and a process of three without an image."""


class Guess(nn.Module):
    """Guesses the class that the first pixel says; the next classes are its next guesses."""

    def forward(self, images: Tensor) -> Tensor:
        return -((torch.arange(10) - images[:, :1, 0, 0] * 255).round() % 10)


def images(size: int) -> tuple[Images, np.ndarray, np.ndarray]:
    """Some images, and whether Guess is right on each: at the first guess, and within five."""
    random = torch.Generator().manual_seed(0)
    guesses, labels = torch.randint(10, (2, size), generator=random)
    labels = torch.where(torch.rand(size, generator=random) < 0.5, guesses, labels)
    pixels = guesses.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return Images(pixels, labels), (guesses == labels).numpy(), ((labels - guesses) % 10 < 5).numpy()


def of_share(size: int, rank: int, processes: int) -> tuple[list[float], list[str]]:
    """What one process finds of its share, and the bits of all."""
    made, *_ = images(size)
    data = DataSet(
        DataConfig(name="digits", train="all", normalisation="none", padding=0, flip=False), made, made
    )
    share = data.tests(batch_size=BATCH, rank=rank, processes=processes, device=CPU)
    sums, right = evaluate(Guess(), share["test"], "32", CPU)
    return sums.tolist(), packed(right, size, rank, processes)


def process(rank: int, processes: int, store: str, results: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
    Path(f"{results}-{rank}").write_text(json.dumps([of_share(size, rank, processes) for size in SIZES]))
    dist.destroy_process_group()


def check(size: int, sums: np.ndarray, bits: list[str]) -> None:
    event = {"event": "right_images", "step": 1, "test": "test", "images": size}
    events = [event | dict(zip(("error", "top5_error"), bits, strict=True))]
    _, first, five = images(size)
    assert 0 < first.sum() < five.sum()
    np.testing.assert_array_equal(right_images(events, "test/error"), first)
    np.testing.assert_array_equal(right_images(events, "test/top5_error"), five)
    assert sums[1:].tolist() == [size, (~first).sum(), (~five).sum()]


@pytest.mark.parametrize("size", SIZES)
def test_a_bit_is_that_of_its_image(size):
    sums, bits = of_share(size, 0, 1)
    check(size, np.array(sums), bits)


def test_the_bits_of_three_processes_are_those_of_one(tmp_path):
    in_ranks(3, process, 3, str(tmp_path / "store"), str(tmp_path / "results"))
    found = [json.loads(Path(tmp_path / f"results-{rank}").read_text()) for rank in range(3)]
    for place, size in enumerate(SIZES):
        sums = np.array([of_rank[place][0] for of_rank in found])
        for of_rank in found:
            check(size, sums.sum(0), of_rank[place][1])


def test_a_bit_per_image_is_little():
    (bits,) = packed(torch.ones(10_000, 1, dtype=torch.bool), 10_000, 0, 1)
    assert len(bits) == 1668
