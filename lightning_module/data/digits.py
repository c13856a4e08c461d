"""The handwritten digits bundled with scikit-learn: 1,797 real 8x8 images, nothing to download."""

from __future__ import annotations

from importlib.metadata import distribution

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_module.data.config import DataConfig
from lightning_module.data.images import DataSet
from lightning_module.data.stream import Images


def load(config: DataConfig) -> DataSet:
    """Every fifth image of each class is a test image, for good: 1,442 to train on, 355 to test on."""
    grey, labels = read()
    images = np.rint(grey.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8).repeat(3, axis=1)
    test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[4::5]] = True
    train_part, test_part = (
        Images(torch.from_numpy(images[mask]), torch.from_numpy(labels[mask]).long())
        for mask in (~test, test)
    )
    return DataSet(config, train_part, test_part)


def read() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels from 0 to 16 and labels, from scikit-learn's file: importing it would take every process a second."""
    path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(path), delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)
