"""The least that a step needs is counted from the network, and never from the kernels that we launch."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lightning_module.benchmark import ceilings
from lightning_module.benchmark.floor import floor, work
from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.cost import cost


def work_of(precision="32", batch=128, **choices):
    return work(NetworkConfig(**choices), 10, 32, batch, precision)


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("depth", [20, 56, 110])
def test_a_fused_step_has_three_kernels_for_each_layer(depth, precision):
    """The first convolution has one less, the optimizer and the batch have one each."""
    assert work_of(precision, depth=depth).kernels == 3 * depth - 1 + 2
    assert work_of(precision, depth=depth, shortcut="B").kernels == 3 * (depth + 2) + 1
    assert work_of(precision, depth=depth, activation="full_preactivation").kernels == 3 * depth + 1


def test_its_arithmetic_is_that_of_three_forward_passes_without_the_first_gradient():
    multiply_adds, classifier, first = cost(NetworkConfig(), 10, 32).multiply_adds, 640, 3 * 9 * 16 * 32**2
    assert work_of(batch=7).flops == 2 * 7 * (3 * (multiply_adds - classifier) - first)


def test_its_bytes_are_operands_and_results_of_those_kernels():
    """ResNet-8: one convolution of the image and two in each of three stages."""
    a, b, c = 16 * 32**2, 32 * 16**2, 64 * 8**2
    passes = 2 * (3 * 32**2 + a) + 3 * (2 * (a + a) + (a + b) + (b + b) + (b + c) + (c + c))
    parameters = cost(NetworkConfig(depth=8), 10, 32).parameters
    assert work_of(depth=8, batch=4).bytes == 4 * 4 * passes + 32 * parameters
    assert work_of("bf16", depth=8, batch=4).bytes == 2 * 4 * passes + 32 * parameters
    assert work_of(depth=8, batch=4).kept == 4 * 4 * (3 * a + 2 * b + 2 * c)


def test_the_floor_is_the_longest_of_its_terms():
    limits = ceilings.Ceilings(
        matrix=4e12, convolutions=1e12, peak=4e12, copy=1e12, launch=1e-5, graph_launch=1e-6
    )
    of = work_of()
    least = floor(limits, of)
    assert (least.arithmetic, least.convolutions) == (of.flops / 4e12, of.flops / 1e12)
    assert (least.memory, least.launches) == (of.bytes / 1e12, pytest.approx(61e-6))
    assert least.seconds == least.convolutions
    assert floor(replace(limits, graph_launch=1e-2), of).seconds == pytest.approx(0.61)
    assert floor(replace(limits, copy=1e9), of).seconds == of.bytes / 1e9
    assert floor(replace(limits, graph_launch=None), of).launches is None


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_the_ceilings_are_of_the_networks_own_convolutions_in_its_precision(monkeypatch, precision):
    monkeypatch.setattr(ceilings, "SECONDS", 0.001)
    of = work(NetworkConfig(depth=8), 10, 12, 3, precision)
    seen, plain = [], torch.nn.functional.conv2d

    def conv2d(images, weights, *more):
        seen.append((images.dtype, tuple(images.shape), weights.shape[0]))
        return plain(images, weights, *more)

    monkeypatch.setattr(ceilings.F, "conv2d", conv2d)
    found = ceilings.ceilings(torch.device("cpu"), precision, of.convolutions, of.batch, of.kept)
    assert found.peak >= found.matrix > 0 and found.peak >= found.convolutions > 0
    assert found.copy > 0 and found.launch > 0 and found.graph_launch is None
    number = torch.bfloat16 if precision == "bf16" else torch.float32
    shapes = {(3, 12, 16), (16, 12, 16), (16, 12, 32), (32, 6, 32), (32, 6, 64), (64, 3, 64)}
    assert set(seen) == {(number, (3, channels, size, size), out) for channels, size, out in shapes}


def test_on_a_gpu_no_launch_by_the_host_is_in_a_ceiling(monkeypatch):
    """A stand-in for the graph: its replay takes 10 ms, a launch by the host 50, and there are 5 in a graph. They alone
    move the clock."""
    calls, replays, clock = [], [], [0.0]

    def takes(seconds):
        clock[0] += seconds

    class Graph:
        def replay(self):
            replays.append(takes(0.01))

    monkeypatch.setattr(ceilings, "SECONDS", 0.02)
    monkeypatch.setattr(ceilings, "seconds", partial(ceilings.seconds, now=lambda: clock[0]))
    monkeypatch.setattr(ceilings, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    found = ceilings.on_the_device(lambda: calls.append(takes(0.05)), torch.device("cuda"), 5)
    assert len(calls) == 1 + 5 and len(replays) > 3
    assert found == pytest.approx(0.002)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_host_is_not_waited_for():
    device = torch.device("cuda")
    of = work_of("bf16")
    found = ceilings.ceilings(device, "bf16", of.convolutions, of.batch, of.kept)
    assert 0 < found.graph_launch < found.launch
