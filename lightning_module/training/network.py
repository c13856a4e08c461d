"""The network of a cell as its training begins: its initial weights, and how they lie in memory."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from lightning_module.cell.config import Config
from lightning_module.data.stream import generator
from lightning_module.networks.staged import Staged
from lightning_module.training.execution import compile_units
from lightning_module.training.sync_batch_norm import synchronise_batch_norm
from lightning_module.training.torch_setup import on_gpu


def sound(config: Config, network: nn.Module) -> Config:
    """The configuration, without channels_last where that would corrupt memory: PyTorch 2.13 on a CPU writes beyond its
    own in the backward pass of a 1x1 convolution of stride 2 over fewer than 8 channels in that layout."""
    if on_gpu(config):
        return config
    convolutions = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride != (1, 1)
    ]
    if all(module.in_channels >= 8 for module in convolutions):
        return config
    return replace(config, trainer=replace(config.trainer, channels_last=False))


def initial(config: Config, classes: int) -> nn.Module:
    """The network with its initial weights, a function of the seed."""
    torch.manual_seed(generator(config.seed, 0).initial_seed())
    network = config.model.build(classes, config.data.channels)
    if isinstance(network, Staged):
        network.checkpoint_every = config.trainer.activation_checkpoint or 0
    if sound(config, network).trainer.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.trainer.processes > 1 and config.trainer.sync_batch_norm:
        network = synchronise_batch_norm(network, gpu=on_gpu(config))
    if config.trainer.compile:
        compile_units(network)
    return network
