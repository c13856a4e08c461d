"""The least that a step needs, whoever writes its kernels: a fully fused program at the device's limits."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_module.benchmark.ceilings import Ceilings, Convolution
from lightning_module.networks.cost import outline
from lightning_module.networks.families import Model


@dataclass(frozen=True)
class Work:
    """One optimizer step on one device, in the fewest kernels that a fully fused program needs.

    Each convolution has one kernel forward and two backward, for the gradients of its weights and of its input.
    Normalisation with its statistics, ReLU, addition, padding and pooling are done within them, on what they read and
    write anyway: sums over the batch are the only thing that such a kernel has to wait for, and the next one begins
    when they are there. Counted from the network alone, and nothing from the kernels that we launch.

    convolutions: how often the network has each. element: bytes of a number in a map: 2 in bf16, 4 otherwise.
    """

    convolutions: Mapping[Convolution, int]
    parameters: int
    batch: int
    element: int

    @property
    def flops(self) -> int:
        """Of the convolutions, two for a multiply-add; the classifier is less than a thousandth of them."""
        return sum(count * each.flops(self.batch) for each, count in self.convolutions.items())

    @property
    def kernels(self) -> int:
        """3 for each convolution, but 2 for the first, whose input needs no gradient; 3 for pooling, classifier and
        loss, which are as a convolution; 1 for the optimizer; 1 for the batch. 3 x depth + 1 in a CIFAR net with
        option A."""
        return sum(each.passes * count for each, count in self.convolutions.items()) + 3 + 1 + 1

    @property
    def bytes(self) -> int:
        """Each of those kernels reads its operands and writes its result once.

        A convolution: input and output in each of its passes. Parameters, in 32 bits: read forward and for the
        gradient of the input, their gradient written; the optimizer reads it, them and their momentum and writes
        these two. What a kernel reads besides, a shortcut or what normalisation kept, is left out.
        """
        maps = sum(
            each.passes * count * (each.inputs + each.outputs) for each, count in self.convolutions.items()
        )
        return self.batch * self.element * maps + 8 * 4 * self.parameters

    @property
    def kept(self) -> int:
        """Bytes that the backward pass needs of the forward pass: the output of every convolution."""
        return (
            self.batch * self.element * sum(count * each.outputs for each, count in self.convolutions.items())
        )


@functools.lru_cache(maxsize=64)
def work(config: Model, classes: int, image_size: int, batch: int, precision: str, channels: int = 3) -> Work:
    """The work of a step of this network on `batch` square images; nothing is allocated."""
    with torch.device("meta"), torch.no_grad():
        network = outline(config, classes, channels)
        images = torch.empty(2, channels, image_size, image_size)
    found = Counter[Convolution]()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        found[
            Convolution(
                module.in_channels,
                module.out_channels,
                module.kernel_size[0],
                module.stride[0],
                module.groups,
                inputs[0].shape[-1],
                output.shape[-1],
                first=inputs[0] is images,
            )
        ] += 1

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
        elif isinstance(module, nn.BatchNorm2d):
            module.forward = lambda input: input  # type: ignore[method-assign]  # slow there, and shapes stay
    with torch.no_grad():
        network(images)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Work(found, parameters, batch, 2 if precision == "bf16" else 4)


@dataclass(frozen=True)
class Floor:
    """Seconds of a step by each of its limits alone.

    arithmetic: its multiply-adds at the highest rate that anything reached. convolutions: those of the network alone,
    each at its own shape with the library's kernels; it ends below where somebody writes better ones. memory: the
    bytes of the fused program at the rate of a copy. launches: its kernels, each at the cost of the smallest one in a
    CUDA graph; None without a GPU.
    """

    arithmetic: float
    convolutions: float
    memory: float
    launches: float | None

    @property
    def seconds(self) -> float:
        """The longest: no step is faster."""
        return max(self.arithmetic, self.convolutions, self.memory, self.launches or 0.0)


def floor(limits: Ceilings, work: Work) -> Floor:
    """The floor of a step with this work on the device that was measured."""
    return Floor(
        work.flops / limits.peak,
        work.flops / limits.convolutions,
        work.bytes / limits.copy,
        work.kernels * limits.graph_launch if limits.graph_launch else None,
    )
