"""What a network or a unit costs, without allocating it: parameters, multiply-adds, memory of the activations."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lightning_module.networks import blocks
from lightning_module.networks.config import Cost, NetworkConfig
from lightning_module.networks.families import Model
from lightning_module.networks.staged import Staged
from lightning_module.networks.unit import Unit

Size = int | tuple[int, int]
"""Of images, in pixels: height and width, or one number for both."""


@functools.lru_cache(maxsize=1024)
def cost(
    config: Model,
    num_classes: int,
    image_size: Size,
    batch_size: int = 1,
    in_channels: int = 3,
) -> Cost:
    """The cost of training `config` in batches of `batch_size`.

    Nothing is allocated: the network is built and run on torch's meta device. In the CIFAR form of a ResNet every
    unit but the first of a stage is alike, so the cost grows by the same amount with each: a deep network is
    continued from two short ones, which is exact and takes the time of those.
    """
    if not isinstance(config, NetworkConfig) or config.form == "imagenet":
        return _measured(config, num_classes, image_size, batch_size, in_channels)
    step = 3 * blocks.weighted_layers(config.block)
    short = 2 + 2 * step
    if config.depth <= short + step:
        return _measured(config, num_classes, image_size, batch_size, in_channels)
    two, three = (
        _measured(replace(config, depth=depth), num_classes, image_size, batch_size, in_channels)
        for depth in (short, short + step)
    )
    more = (config.depth - short) // step
    return Cost(
        two.parameters + more * (three.parameters - two.parameters),
        two.multiply_adds + more * (three.multiply_adds - two.multiply_adds),
        two.activation_bytes + more * (three.activation_bytes - two.activation_bytes),
    )


def outline(config: Model, num_classes: int, in_channels: int = 3) -> nn.Module:
    """The network on torch's meta device: its shapes without its numbers."""
    with torch.device("meta"), _Unwritten():
        return config.build(num_classes, in_channels)


def parts(config: Model, num_classes: int, in_channels: int = 3) -> tuple[bool, bool]:
    """Whether the network has units, as those of `Staged`, and whether it has batch normalisation."""
    network = outline(config, num_classes, in_channels)
    return isinstance(network, Staged), any(isinstance(module, _BatchNorm) for module in network.modules())


@functools.lru_cache(maxsize=1024)
def _measured(config: Model, num_classes: int, image_size: Size, batch_size: int, in_channels: int) -> Cost:
    """Run one forward pass on the meta device and watch it: of two images at least, as batch normalisation must."""
    run_size = max(batch_size, 2)
    network = outline(config, num_classes, in_channels)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    images = torch.empty(run_size, in_channels, height, width, device="meta")
    own = {tensor.untyped_storage()._cdata for tensor in network.state_dict().values()}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            # The tensor itself is kept, so that no later storage can take this one's address.
            saved[storage] = tensor
        return tensor

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = _KeepsAsBatchNorm.apply  # type: ignore[method-assign]
    kept = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    # What the network makes by itself, such as positions, is on the meta device too.
    with torch.device("meta"), kept, _Counting() as counting:  # type: ignore[no-untyped-call]
        logits = network(images)
    if logits.shape != (run_size, num_classes):
        raise ValueError(
            f"the network gives {list(logits.shape)} for {list(images.shape)}, not [{run_size}, {num_classes}]"
        )
    return Cost(
        sum(parameter.numel() for parameter in network.parameters()),
        counting.multiply_adds // run_size,
        sum(tensor.untyped_storage().nbytes() for tensor in saved.values()) * batch_size // run_size,
    )


def unit_cost(block: str, channels: int) -> tuple[int, int]:
    """Weights of a unit's convolutions, and its multiply-adds per position of the map.

    The unit has its identity as shortcut and as many channels at its input as at its output (arXiv:1512.03385,
    Fig. 5): `channels`, a multiple of the block's EXPANSION.
    """
    with torch.device("meta"), _Unwritten():
        width = channels // blocks.load(block).EXPANSION
        unit = Unit(channels, width, 1, NetworkConfig(block=block), first=False)
        positions = torch.empty(2, channels, 1, 1)  # two, as batch normalisation must have
    with _Counting() as counting:  # type: ignore[no-untyped-call]
        unit(positions)
    weights = sum(module.weight.numel() for module in unit.modules() if isinstance(module, nn.Conv2d))
    return weights, counting.multiply_adds // len(positions)


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The multiply-adds of every convolution and matrix product that runs within it, whichever module asks for it."""

    multiply_adds = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.multiply_adds += count(*args, **(kwargs or {}), out_val=out) // 2
        return out


class _Unwritten(TorchFunctionMode):
    """Initial values are left out: nothing is there to be written to, and on the meta device that takes long."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return function(*args, **(kwargs or {}))


class _KeepsAsBatchNorm(torch.autograd.Function):
    """What batch normalisation keeps for the backward pass; the real one is slow on the meta device."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x, x.new_empty(x.shape[1]), x.new_empty(x.shape[1]))
        return torch.empty_like(x)
