"""Memory: what a device has, what a cell has used of it, and whether the cell needs activation checkpointing."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import re
import resource
import sys
from dataclasses import replace
from pathlib import Path

import torch

from lightning_module.cell.config import Config
from lightning_module.networks.cost import cost, outline
from lightning_module.networks.staged import Staged
from lightning_module.support.mps import memory_share

SHARE = 0.5
"""Of the memory, for activations that the backward pass needs; there are gradients and workspaces as well."""


def with_activation_checkpoint(config: Config, memory: int) -> Config:
    """The configuration with `trainer.activation_checkpoint` decided if it is null.

    No network is checkpointed whose activations of one batch fit, or that has no units; a deeper one, about every
    square root of its units, which saves most. Results are the same either way.
    """
    if config.trainer.activation_checkpoint is not None:
        return config
    share = config.recipe.batch_size // config.trainer.processes
    data = config.data
    needed = cost(config.model, data.classes, data.image_size, share, data.channels).activation_bytes
    network = outline(config.model, data.classes, data.channels) if needed > SHARE * memory else None
    every = round(math.sqrt(len(network.units))) if isinstance(network, Staged) else 0
    return replace(config, trainer=replace(config.trainer, activation_checkpoint=every))


def device_memory(config: Config, gpu: bool) -> int:
    """Bytes that one process may fill: its GPU's or its part of it, or its part of the machine's."""
    if gpu:
        return int(torch.cuda.get_device_properties(0).total_memory * memory_share())
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // config.trainer.devices


def reset_peak_memory(gpu: bool) -> None:
    """Forget what earlier cells of this process have used, and give back what they hold: Lightning's objects and
    ours refer to each other, so that only the garbage collector frees them."""
    gc.collect()
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone gives back what was freed
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # Linux alone can
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_memory(device: torch.device) -> float:
    """Bytes: of tensors on the GPU, or of the whole process on the CPU, at most, since the last reset."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):
        if peak := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8")):
            return 1024.0 * int(peak[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
