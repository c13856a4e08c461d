"""What JPEG costs a network that is trained: its error on test images that went through JPEG once more.

    python benchmarks/recompressed.py runs/IDENTITY

The cell's own data, network and last checkpoint; the training images stay as they are. For each quality, with the
colours at half resolution: the root mean square of what it changes in a pixel (of 0 to 255), the test error, and how
many images were right before and are wrong now, and the other way about. Needs Pillow.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ablations.sweep.compose import compose
from lightning_module.cell import record
from lightning_module.cell.config import parse_config
from lightning_module.data.images import DataSet, load
from lightning_module.data.stream import Images
from lightning_module.training import checkpoint
from lightning_module.training.evaluation import evaluate

QUALITIES = (90, 75, 60, 40, 25)
BATCH = 500


def recompressed(images: Tensor, quality: int) -> Tensor:
    """uint8 [N, 3, H, W] after one more JPEG."""
    again = []
    for image in images.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        again.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(again)).permute(0, 3, 1, 2).contiguous()


def main(run: Path) -> None:
    """Print the table."""
    cell, state = record.read(run).cell, checkpoint.load(run)
    if state is None:
        sys.exit(f"{run} holds no checkpoint")
    config = parse_config(compose(cell["overrides"]))
    data = load(config.data)
    if not isinstance(data, DataSet) or config.data.channels != 3:
        sys.exit(f"{run} is a cell of other images than small ones in colour")
    network = config.model.build(data.classes, config.data.channels).eval()
    network.load_state_dict(state["network"])

    @torch.inference_mode()
    def right(images: Tensor) -> Tensor:
        """bool [N]: whose class is the first guess."""
        tested = replace(data, test=Images(images, data.test.labels))
        cpu = torch.device("cpu")
        views = tested.tests(batch_size=BATCH, rank=0, processes=1, device=cpu)["test"]
        return evaluate(network, views, config.trainer.precision, cpu)[1][:, 0]

    def error(correct: Tensor) -> float:
        return float(100 * (~correct).double().mean())

    images = data.test.images
    before = right(images)
    print(f"{cell['name']}, step {state['step']} of {config.recipe.steps}: test error {error(before):.2f} %")
    print("quality  pixel change   error  difference  now wrong  now right")
    for quality in QUALITIES:
        again = recompressed(images, quality)
        change, after = (again.float() - images.float()).square().mean().sqrt(), right(again)
        lost, won = int((before & ~after).sum()), int((after & ~before).sum())
        difference = error(after) - error(before)
        print(f"{quality:7d}  {change:12.2f}  {error(after):6.2f}  {difference:+10.2f}  {lost:9d}  {won:9d}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
