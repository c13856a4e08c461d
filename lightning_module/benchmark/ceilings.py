"""What the device can do at best: arithmetic, memory and launches, measured where a step is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lightning_module.training.step import autocast

SECONDS = 0.3
"""Seconds spent on measuring each number."""
SMALL = 1000
"""Small kernels in a row, to time the launch of one."""


@dataclass(frozen=True)
class Ceilings:
    """matrix, convolution: FLOP/s of a large matrix product and of the 3x3 convolutions of a CIFAR ResNet, forward
    and backward (at its best of three sizes). copy: bytes/s, read and written. launch: seconds per small kernel.
    graph_launch: the same inside a CUDA graph; None without one.
    """

    matrix: float
    convolution: float
    copy: float
    launch: float
    graph_launch: float | None

    @property
    def peak(self) -> float:
        """The highest FLOP/s that anything reached."""
        return max(self.matrix, self.convolution)


@dataclass(frozen=True)
class Floor:
    """Seconds that a step takes at least: by its arithmetic at the peak and at the rate of convolutions, by the bytes
    it moves, by its kernel launches (None without a CUDA graph)."""

    arithmetic: float
    convolution: float
    copy: float
    launches: float | None

    @property
    def seconds(self) -> float:
        """The longest of them: no step is faster as long as its kernels stay separate."""
        return max(self.arithmetic, self.copy, self.launches or 0.0)


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all its work; on the CPU it always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Time of one call in the fastest of the batches of calls that fit into SECONDS."""
    call()
    call()
    wait_for(device)
    started = time.perf_counter()
    call()
    wait_for(device)
    repeat = max(1, int(SECONDS / 5 / max(1e-7, time.perf_counter() - started)))
    best, over = float("inf"), time.perf_counter() + SECONDS
    while best == float("inf") or time.perf_counter() < over:
        started = time.perf_counter()
        for _ in range(repeat):
            call()
        wait_for(device)
        best = min(best, (time.perf_counter() - started) / repeat)
    return best


def ceilings(device: torch.device, precision: str, batch_size: int) -> Ceilings:
    """Measure a device with the number formats and threads that are set; takes about two seconds."""
    graph = _graph_launch(device) if device.type == "cuda" else None
    small = torch.zeros(1, device=device)

    def launches() -> None:
        for _ in range(SMALL):
            small.add_(1)

    size = 2**28 if device.type == "cuda" else 2**25
    source, target = torch.zeros(2, size // 4, device=device)
    return Ceilings(
        _matrix(device, precision),
        max(_convolution(device, precision, batch_size, *shape) for shape in ((16, 32), (32, 16), (64, 8))),
        2 * size / seconds(lambda: target.copy_(source), device),
        seconds(launches, device) / SMALL,
        graph,
    )


def floor(
    limits: Ceilings, multiply_adds: int, activation_bytes: int, kernels: int | None, precision: str
) -> Floor:
    """Of a step with so many multiply-adds forward and bytes kept for the backward pass, over the whole batch.

    activation_bytes: in 32 bits; bf16 keeps at least half of them. A training step is three forward passes; what is
    kept is written and read once, and so is its gradient.
    """
    flops = 6 * multiply_adds
    activation_bytes //= 2 if precision == "bf16" else 1
    launched = kernels * limits.graph_launch if kernels and limits.graph_launch else None
    return Floor(
        flops / limits.peak, flops / limits.convolution, 4 * activation_bytes / limits.copy, launched
    )


def _matrix(device: torch.device, precision: str) -> float:
    size = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, size, size, device=device)
    if precision == "bf16":
        a, b = a.bfloat16(), b.bfloat16()
    return 2 * size**3 / seconds(lambda: a @ b, device)


def _convolution(device: torch.device, precision: str, batch: int, channels: int, size: int) -> float:
    layout = torch.channels_last
    images = torch.randn(batch, channels, size, size, device=device).to(memory_format=layout).requires_grad_()
    weight = torch.randn(channels, channels, 3, 3, device=device).to(memory_format=layout).requires_grad_()

    def both_ways() -> None:
        with autocast(device, precision):
            out = F.conv2d(images, weight, padding=1)
        torch.autograd.grad(out, (images, weight), torch.ones_like(out))

    return 6 * 9 * channels**2 * size**2 * batch / seconds(both_ways, device)


def _graph_launch(device: torch.device) -> float:
    small, graph = torch.zeros(1, device=device), torch.cuda.CUDAGraph()
    small.add_(1)
    with torch.cuda.graph(graph):
        for _ in range(SMALL):
            small.add_(1)
    return seconds(graph.replay, device) / SMALL
