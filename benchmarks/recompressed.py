"""What JPEG costs a network: its error on test images that went through JPEG once more.

    python benchmarks/recompressed.py runs/IDENTITY

The cell's own data, network and last checkpoint; the training images stay as they are. For each quality, with the
colours at half resolution: the root mean square of what it changes in a pixel (of 0 to 255); the same for the images
without a border of 4 pixels, whose blocks are none that an earlier JPEG has smoothed; the test error, and how many
images were right before and are wrong now, and the other way about. Needs Pillow.

    python benchmarks/recompressed.py runs/IDENTITY 40 quality40.npz

writes that cell's training and test images after one more JPEG of quality 40, for a network that is trained on such
images from the start: data=arrays data.root=quality40.npz data.padding=4 data.flip=true is CIFAR-10's recipe for them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ablations.sweep.compose import compose
from lightning_module.cell import record
from lightning_module.cell.config import Config, parse_config
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


def rms(a: Tensor, b: Tensor) -> float:
    """The root mean square of the difference."""
    return float((a.float() - b.float()).square().mean().sqrt())


def load_colour(run: Path) -> tuple[Config, DataSet]:
    """The cell's configuration, and its images."""
    config = parse_config(compose(record.read(run).cell["overrides"]))
    data = load(config.data)
    if not isinstance(data, DataSet) or config.data.channels != 3:
        sys.exit(f"{run} is a cell of other images than small ones in colour")
    return config, data


def write(file: Path, splits: Mapping[str, Images]) -> None:
    """A file that `data=arrays` reads."""
    images = {f"{name}_images": part.images.permute(0, 2, 3, 1).numpy() for name, part in splits.items()}
    np.savez(file, **images, **{f"{name}_labels": part.labels.numpy() for name, part in splits.items()})


def write_copy(run: Path, quality: int, file: Path) -> None:
    """All splits of the cell's images, recompressed."""
    _, data = load_colour(run)
    splits = {"train": data.train, "test": data.test, **data.others}
    write(
        file,
        {name: replace(part, images=recompressed(part.images, quality)) for name, part in splits.items()},
    )


def print_table(run: Path) -> None:
    """What each quality costs the network of the run."""
    cell, state = record.read(run).cell, checkpoint.load(run)
    if state is None:
        sys.exit(f"{run} holds no checkpoint")
    config, data = load_colour(run)
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
    inner = images[..., 4:-4, 4:-4]
    print("quality  pixel change  other blocks   error  difference  now wrong  now right")
    for quality in QUALITIES:
        again, other = recompressed(images, quality), rms(recompressed(inner, quality), inner)
        change, after = rms(again, images), right(again)
        lost, won = int((before & ~after).sum()), int((after & ~before).sum())
        difference = error(after) - error(before)
        changes = f"{quality:7d}  {change:12.2f}  {other:12.2f}"
        print(f"{changes}  {error(after):6.2f}  {difference:+10.2f}  {lost:9d}  {won:9d}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [run]:
            print_table(Path(run))
        case [run, quality, file]:
            write_copy(Path(run), int(quality), Path(file))
        case _:
            sys.exit(__doc__)
