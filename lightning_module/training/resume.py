"""What a cell goes on from: a checkpoint that fits its record and its network; whatever does not is set aside."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from lightning_module.cell.config import RecipeConfig
from lightning_module.cell.record import Record, read
from lightning_module.training.checkpoint import FILE, CheckpointError, checksum, load
from lightning_module.training.recipe import optimizer


def choose(
    folder: Path, identity: str, recipe: RecipeConfig, network: nn.Module
) -> tuple[dict[str, Any] | None, str]:
    """The checkpoint to go on from, None to begin; and, where one was set aside, why and where to, in one sentence.

    To be called before the attempt is in the record, with a new network, for its shapes. Where there are several
    ranks, every one calls it: rank 0 decides, and the others follow.
    """
    content, said = _own(folder, identity, recipe, network) if _rank() == 0 else (None, "")
    if dist.is_initialized():
        told = [checksum(content)]
        dist.broadcast_object_list(told)
        if _rank() and told[0] != checksum(None):
            content = load(folder)
        if told[0] != checksum(content):
            raise CheckpointError(f"{folder / FILE} is not what rank 0 has read")
    return content, said


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _own(
    folder: Path, identity: str, recipe: RecipeConfig, network: nn.Module
) -> tuple[dict[str, Any] | None, str]:
    """As `choose`, for this rank alone."""
    for stray in folder.glob(f"{FILE}.*.tmp"):  # of an attempt that was killed while it wrote
        stray.unlink(missing_ok=True)
    try:
        content = load(folder)
        if content is not None:
            _check(content, read(folder), identity, recipe.steps)
            fresh = optimizer(recipe, network, fused=False)
            try:
                _check_shapes(content, network, fresh)
            except (AttributeError, LookupError, TypeError) as error:
                raise CheckpointError(f"holds no state of an optimizer ({error!r})") from error
        return content, ""
    except CheckpointError as error:
        place = _set_aside(folder / FILE)
        return (
            None,
            f"{folder / FILE} {error}; it is now {place.name}, and the cell is trained from the start",
        )


def _set_aside(path: Path) -> Path:
    """Rename it; nothing is deleted, and nothing that was set aside before is replaced."""
    names = (path.with_name(f"set-aside-{number}.ckpt") for number in itertools.count(1))
    return path.rename(next(name for name in names if not name.exists()))


def _check(content: Mapping[str, Any], known: Record, identity: str, steps: int) -> None:
    """CheckpointError if it is of another cell, or of what the record does not hold."""
    if content["identity"] != identity:
        raise CheckpointError(f"is of cell {content['identity']}")
    step, attempt, epochs = content["step"], content["attempt"], content["epochs"]
    if not 0 <= step <= steps:
        raise CheckpointError(f"is of step {step} of {steps}")
    held = sum(epoch["step"] <= step for epoch in known.epochs)
    if attempt > len(known.attempts) or held != epochs:
        raise CheckpointError(
            f"does not fit the record: it is of step {step} after {epochs} epochs in attempt {attempt}, and the record "
            f"holds {held} epochs up to there and {len(known.attempts)} attempts"
        )


def _check_shapes(content: Mapping[str, Any], network: nn.Module, fresh: torch.optim.Optimizer) -> None:
    """CheckpointError if its tensors are not those of the network and of its optimizer."""
    wanted, found = dict(network.state_dict()), dict(content["network"])
    learned = [value for group in fresh.param_groups for value in group["params"]]
    for index, kept in content["optimizer"]["state"].items():
        if isinstance(kept.get("momentum_buffer"), torch.Tensor) and index < len(learned):
            name = f"momentum {index}"
            wanted[name], found[name] = learned[index], kept["momentum_buffer"]
    for name in dict.fromkeys([*wanted, *found]):
        there, here = _shape(found.get(name)), _shape(wanted.get(name))
        if there != here:
            raise CheckpointError(f"does not fit the network: {name} is {there} in it and {here} here")
    groups = [
        [group["params"] for group in state["param_groups"]]
        for state in (content["optimizer"], fresh.state_dict())
    ]
    if groups[0] != groups[1]:
        raise CheckpointError("does not fit the optimizer, which has other groups of parameters")


def _shape(value: torch.Tensor | None) -> str:
    return "missing" if value is None else f"{value.dtype} {list(value.shape)}".removeprefix("torch.")
