"""What the device can do at best: arithmetic, memory and launches, measured where a step is measured.

On a GPU all but `launch` is measured inside CUDA graphs, where the host is not waited for.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SECONDS = 0.1
"""Seconds spent on measuring each number."""
IN_A_GRAPH, SMALL = 10, 1000
"""Calls recorded in one CUDA graph: of something large, of the smallest kernel."""
LARGEST = 2**28
"""Bytes of the largest copy that is measured: more than any cache."""


@dataclass(frozen=True)
class Convolution:
    """A square convolution at the place where a network has it. size, out_size: pixels a side of its input and output.
    first: of the network, so that its input needs no gradient."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    size: int
    out_size: int
    first: bool

    @property
    def inputs(self) -> int:
        """Numbers in the input of one image."""
        return self.in_channels * self.size**2

    @property
    def outputs(self) -> int:
        """Numbers in the output of one image."""
        return self.out_channels * self.out_size**2

    @property
    def passes(self) -> int:
        """Forward, gradient of the weights, gradient of the input."""
        return 2 if self.first else 3

    def flops(self, batch: int) -> int:
        """Of all passes."""
        return 2 * self.passes * batch * self.outputs * self.kernel**2 * self.in_channels // self.groups


@dataclass(frozen=True)
class Ceilings:
    """matrix: FLOP/s of a large matrix product. convolutions: FLOP/s of all convolutions of the network alone, forward
    and backward, at their own shapes; each in the better of two layouts and, on the CPU, with the better of one and
    all threads. peak: the highest FLOP/s that any of these reached. copy: bytes/s, read and written, of as much as
    the backward pass needs of the forward pass. launch: seconds per small kernel, by the host. graph_launch: the same
    inside a CUDA graph; None without one.
    """

    matrix: float
    convolutions: float
    peak: float
    copy: float
    launch: float
    graph_launch: float | None


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all its work; on the CPU it always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Time of the fastest call that fits into SECONDS; on a GPU of the fastest batch of calls, waited for together."""
    call()
    call()
    wait_for(device)
    started = time.perf_counter()
    call()
    wait_for(device)
    took = max(1e-7, time.perf_counter() - started)
    repeat = max(1, int(SECONDS / 5 / took)) if device.type == "cuda" else 1
    best, over = float("inf"), time.perf_counter() + SECONDS
    while best == float("inf") or time.perf_counter() < over:
        started = time.perf_counter()
        for _ in range(repeat):
            call()
        wait_for(device)
        best = min(best, (time.perf_counter() - started) / repeat)
    return best


def on_the_device(call: Callable[[], object], device: torch.device, times: int = IN_A_GRAPH) -> float:
    """Seconds of one call without its launch by the host: on a GPU, of several in a CUDA graph."""
    if device.type != "cuda":
        return seconds(call, device)
    call()  # libraries choose their kernels
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            call()
    return seconds(graph.replay, device) / times


def ceilings(
    device: torch.device, precision: str, convolutions: Mapping[Convolution, int], batch: int, kept: int
) -> Ceilings:
    """Measure a device with the number formats and threads that are set, in a few seconds; less when repeated.

    convolutions: of the network, how often each. kept: bytes that the backward pass needs of the forward pass.
    """
    threads = torch.get_num_threads()
    alone = {each: _convolution(device, precision, each, batch, threads) for each in convolutions}
    flops = {each: count * each.flops(batch) for each, count in convolutions.items()}
    matrix = _matrix(device, precision, threads)
    small = torch.zeros(1, device=device)
    source, target = torch.zeros(2, max(1, min(kept, LARGEST) // 8), device=device)

    def launches() -> None:
        for _ in range(SMALL):
            small.add_(1)

    return Ceilings(
        matrix,
        sum(flops.values()) / sum(count * alone[each] for each, count in convolutions.items()),
        max(matrix, *(each.flops(batch) / alone[each] for each in convolutions)),
        # No copy_, which on a GPU is no kernel.
        8 * len(source) / on_the_device(lambda: torch.add(source, 1, out=target), device),
        seconds(launches, device) / SMALL,
        on_the_device(lambda: small.add_(1), device, SMALL) if device.type == "cuda" else None,
    )


def _number(precision: str) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32


@functools.lru_cache(maxsize=64)
def _matrix(device: torch.device, precision: str, threads: int) -> float:
    size = 4096 if device.type == "cuda" else 1024
    a, b = torch.randn(2, size, size, device=device, dtype=_number(precision))
    return 2 * size**3 / on_the_device(lambda: a @ b, device)


@functools.lru_cache(maxsize=1024)
def _convolution(device: torch.device, precision: str, each: Convolution, batch: int, threads: int) -> float:
    """Seconds of its passes, one after the other, in the best of layouts and numbers of threads."""
    stride, padding, still = [each.stride] * 2, [each.kernel // 2] * 2, [0, 0]
    wanted = [not each.first, True, False]
    weights = each.out_channels, each.in_channels // each.groups, each.kernel, each.kernel
    shapes = (batch, each.in_channels, each.size, each.size), weights
    best = float("inf")
    for layout in (torch.contiguous_format, torch.channels_last):
        x, w = (
            torch.randn(shape, device=device, dtype=_number(precision)).to(memory_format=layout)
            for shape in shapes
        )
        gradient = torch.randn_like(F.conv2d(x, w, None, stride, padding, 1, each.groups))

        def passes(x: Tensor = x, w: Tensor = w, gradient: Tensor = gradient) -> None:
            F.conv2d(x, w, None, stride, padding, 1, each.groups)
            torch.ops.aten.convolution_backward(
                gradient, x, w, None, stride, padding, [1, 1], False, still, each.groups, wanted
            )

        for several in {threads} if device.type == "cuda" else {1, threads}:
            torch.set_num_threads(several)
            best = min(best, on_the_device(passes, device))
        torch.set_num_threads(threads)
    return best
