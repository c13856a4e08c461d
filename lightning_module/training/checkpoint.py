"""Checkpoints: written whole or not at all, read as data only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lightning_module.support.disk import whole_file

FILE = "last.ckpt"


class CheckpointError(Exception):
    """A checkpoint that cannot be used; its text is one sentence."""


def save(folder: Path, content: dict[str, Any]) -> None:
    """Replace the checkpoint of a run folder atomically: a kill leaves the old one or the new one."""
    with whole_file(folder / FILE, durable=True) as file:
        torch.save(content, file)


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a run folder on the CPU, None if there is none.

    Only tensors and plain values are read, so a tampered file cannot run code. Raises CheckpointError.
    """
    path = folder / FILE
    for stray in folder.glob(f"{FILE}.*.tmp"):  # of an attempt that was killed while it wrote
        stray.unlink(missing_ok=True)
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged file makes the reader do
        reason = str(error).split("\n")[0]
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({reason}); delete it to train this cell from the start"
        ) from error
