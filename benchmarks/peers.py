"""Training loops in the style of public code, to run against ours: written here, from how those projects work.

Each class makes a function of the number of steps that trains so many and returns seconds per step in steady state,
of the clock and of this process's processors: starting workers, the first steps, evaluation and the end of an epoch
are not measured for anybody.
"""

from __future__ import annotations

import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Times = NDArray[np.float64]
WARM = 2
"""Steps before the clock starts."""
AHEAD = 2
"""Batches that each worker of a DataLoader makes ahead, by PyTorch's default."""


@dataclass(frozen=True)
class Setting:
    """What all loops share. images: uint8 [N, 3, H, W] and labels int64 [N], on the CPU."""

    images: Tensor
    labels: Tensor
    build: Callable[[], nn.Module]
    batch_size: int
    device: torch.device
    precision: str
    workers: int

    @property
    def warm(self) -> int:
        """Steps before the clock starts for a loop with a DataLoader: those of batches that were made before, too."""
        return WARM + AHEAD * self.workers

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def now(self) -> Times:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return np.array([time.perf_counter(), time.process_time()])


def sgd(network: nn.Module, **more: Any) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, **more)


class _PerImage(Dataset[tuple[Tensor, int]]):
    """A flip, padding, a crop, conversion and normalisation of one image at a time, as transforms do."""

    def __init__(self, setting: Setting) -> None:
        self.images = setting.images.permute(0, 2, 3, 1).numpy()
        self.labels = setting.labels.tolist()
        self.mean, self.deviation = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(DEVIATION).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if random.random() < 0.5:
            image = image[:, ::-1]
        size = image.shape[0]
        y, x = random.randint(0, 8), random.randint(0, 8)
        image = np.pad(image, ((4, 4), (4, 4), (0, 0)))[y : y + size, x : x + size]
        tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub_(self.mean).div_(self.deviation), self.labels[index]


def _loader(setting: Setting) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(
        _PerImage(setting),
        setting.batch_size,
        shuffle=True,
        num_workers=setting.workers,
        pin_memory=setting.device.type == "cuda",
        drop_last=True,
    )


class _Average:
    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, value: float, count: int) -> None:
        self.total, self.count = self.total + value * count, self.count + count


class Akamaster:
    """akamaster/pytorch_resnet_cifar10: DataLoader, per-image transforms, loss and accuracy read at every step."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.network = setting, setting.build().to(setting.device)
        self.optimizer, self.criterion = sgd(self.network), nn.CrossEntropyLoss().to(setting.device)

    def __call__(self, steps: int) -> Times:
        setting, losses, top1 = self.setting, _Average(), _Average()
        started = setting.now()
        self.network.train()
        for step, (images, labels) in enumerate(_loader(setting)):
            if step == setting.warm:
                started = setting.now()
            if step == setting.warm + steps:
                break
            labels = labels.to(setting.device)
            with setting.autocast():
                output = self.network(images.to(setting.device))
                loss = self.criterion(output, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            output, loss = output.float(), loss.float()
            _, best = output.data.topk(1, 1, True, True)
            correct = best.t().eq(labels.view(1, -1))[:1].reshape(-1).float().sum(0).mul_(100 / len(labels))
            losses.update(loss.item(), len(labels))
            top1.update(correct.item(), len(labels))
        return (setting.now() - started) / steps


class LightningTemplate:
    """ashleve/lightning-hydra-template: Lightning with checkpoint, bar and logger, torchmetrics, DataLoader workers."""

    def __init__(self, setting: Setting) -> None:
        from pytorch_lightning import LightningModule
        from torchmetrics import MaxMetric, MeanMetric
        from torchmetrics.classification import MulticlassAccuracy

        class Module(LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.network, self.criterion = setting.build(), nn.CrossEntropyLoss()
                self.train_acc, self.train_loss = MulticlassAccuracy(10, average="micro"), MeanMetric()
                self.val_acc_best = MaxMetric()

            def forward(self, images: Tensor) -> Tensor:
                logits: Tensor = self.network(images)
                return logits

            def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
                images, labels = batch
                logits = self.forward(images)
                loss: Tensor = self.criterion(logits, labels)
                self.train_loss(loss)
                self.train_acc(torch.argmax(logits, dim=1), labels)
                self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
                self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
                return loss

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return sgd(self.network)

        self.setting, self.module = setting, Module()

    def __call__(self, steps: int) -> Times:
        from pytorch_lightning import Callback, Trainer
        from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
        from pytorch_lightning.loggers import CSVLogger

        setting, times = self.setting, dict[int, Times]()
        first, last = setting.warm, setting.warm + steps

        class Clock(Callback):
            def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
                # Between batches without waiting for the device, but for the two that are read.
                if trainer.global_step in (first, last):
                    times[trainer.global_step] = setting.now()

        with (
            tempfile.TemporaryDirectory() as folder,
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            warnings.simplefilter("ignore")
            trainer = Trainer(
                default_root_dir=folder,
                accelerator="gpu" if setting.device.type == "cuda" else "cpu",
                devices=1,
                precision="bf16-mixed" if setting.precision == "bf16" else "32-true",
                max_steps=last,
                callbacks=[ModelCheckpoint(folder, save_last=True), LearningRateMonitor(), Clock()],
                logger=CSVLogger(folder),
                enable_model_summary=False,
            )
            trainer.fit(self.module, _loader(setting))
        return (times[last] - times[first]) / steps


class Raw:
    """Plain PyTorch: all images normalised in memory, crops and flips of a whole batch at once, nothing measured."""

    layout = torch.contiguous_format
    fused = False

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.network = setting.build().to(setting.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.optimizer = sgd(self.network, fused=self.fused)
        mean, deviation = (torch.tensor(v, device=setting.device).view(3, 1, 1) for v in (MEAN, DEVIATION))
        self.images = (setting.images.to(setting.device).float() / 255 - mean) / deviation
        self.labels = setting.labels.to(setting.device)

    def batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Without an end: WARM batches, then at least `steps`, none of which is made before it is asked for."""
        device, size = self.setting.device, self.images.shape[-1]
        padded = F.pad(self.images, (4, 4, 4, 4))
        ahead = torch.arange(size, device=device)
        while True:
            for index in torch.randperm(len(self.labels), device=device).split(self.setting.batch_size):
                y, x = torch.randint(9, (2, len(index), 1), device=device)
                rows, columns = (y + ahead)[:, None, :, None], (x + ahead)[:, None, None, :]
                channels = torch.arange(3, device=device)[None, :, None, None]
                images = padded[index[:, None, None, None], channels, rows, columns]
                flip = torch.rand(len(index), 1, 1, 1, device=device) < 0.5
                yield torch.where(flip, images.flip(-1), images), self.labels[index]

    def __call__(self, steps: int) -> Times:
        self.network.train()
        batches = self.batches(steps)
        for _ in range(WARM):
            self._step(*next(batches))
        started = self.setting.now()
        for _ in range(steps):
            self._step(*next(batches))
        return (self.setting.now() - started) / steps

    def _step(self, images: Tensor, labels: Tensor) -> None:
        with self.setting.autocast():
            loss = F.cross_entropy(self.network(images.contiguous(memory_format=self.layout)), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


class DeviceResident(Raw):
    """The style of airbench: the epoch augmented on the device in one go, channels last, nothing read back.

    The augmentation of what is measured is measured: it is made in one go after the clock has started, for as many
    batches as there are steps, at most an epoch. Not its networks, schedule or compilation.
    """

    layout = torch.channels_last
    fused = True

    def batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """WARM batches in one go, then `steps` or an epoch in one go, and so on."""
        device, size, batch = self.setting.device, self.images.shape[-1], self.setting.batch_size
        padded = F.pad(self.images, (4, 4, 4, 4), mode="reflect")
        for count in chain([WARM], repeat(min(steps, len(self.labels) // batch))):
            index = torch.randperm(len(self.labels), device=device)[: count * batch]
            y, x = torch.randint(9, (2, len(index)), device=device)
            source = padded[index]
            rows = torch.empty(len(index), 3, size, source.shape[-1], device=device)
            images = torch.empty(len(index), 3, size, size, device=device)
            for shift in range(9):
                rows[y == shift] = source[y == shift, :, shift : shift + size]
            for shift in range(9):
                images[x == shift] = rows[x == shift, :, :, shift : shift + size]
            flip = torch.rand(len(index), 1, 1, 1, device=device) < 0.5
            images = torch.where(flip, images.flip(-1), images)
            yield from zip(images.split(batch), self.labels[index].split(batch), strict=True)
