"""How the steps of a cell are executed: by a CUDA graph, with compiled units; and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lightning_module.cell.config import TrainerConfig
from lightning_module.networks.staged import Staged
from lightning_module.training.step import Graphed

COMPILED_VARIANTS = 64
"""Kinds of units (widths, strides, shortcuts, shapes) in one network; dynamo's own limit is 8."""


def without_graph(trainer: TrainerConfig, device: torch.device) -> str:
    """Why the steps are not to be made by a CUDA graph; "" if they are."""
    if device.type != "cuda":
        return "no GPU"
    if trainer.processes > 1:
        return "several processes"
    if trainer.activation_checkpoint:
        return "activation checkpointing"
    return "" if trainer.cuda_graph else "trainer.cuda_graph=false"


def compile_units(network: nn.Module) -> None:
    """Let PyTorch compile each unit at its first call, or a network without units, as if no cell had been trained in
    this process.

    What others had compiled would count against dynamo's limit, beyond which it silently compiles no more.
    """
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    torch._dynamo.config.recompile_limit = COMPILED_VARIANTS
    for module in network.units if isinstance(network, Staged) else [network]:
        module.compile()


def executed(make_step: Callable[..., None], reason: str, compiled: bool) -> dict[str, Any]:
    """How the steps were made, for the record; reason: why not by a graph, where none was to be tried.

    cuda_graph: whether by a CUDA graph; without_graph: why not; compiled_graphs: of PyTorch's compiler, 0 without
    `trainer.compile`; graph_breaks: places where compiled units went on in ordinary PyTorch.
    """
    graph = False
    if isinstance(make_step, Graphed):
        graph = make_step.replaying
        reason = "" if graph else make_step.failed or "too few steps"
    counts = torch._dynamo.utils.counters
    return {
        "cuda_graph": graph,
        "without_graph": reason,
        "compiled_graphs": counts["stats"]["unique_graphs"] if compiled else 0,
        "graph_breaks": sum(counts["graph_break"].values()) if compiled else 0,
    }
