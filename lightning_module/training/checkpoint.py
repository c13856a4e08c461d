"""Checkpoints: written whole or not at all, read as data only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

FILE = "last.ckpt"


class CheckpointError(Exception):
    """A checkpoint that cannot be used; its text is one sentence."""


def save(folder: Path, content: dict[str, Any]) -> None:
    """Replace the checkpoint of a run folder atomically: a kill leaves the old one or the new one."""
    temporary = folder / f"{FILE}.tmp"
    with open(temporary, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / FILE)


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a run folder on the CPU, None if there is none.

    Only tensors and plain values are read, so a tampered file cannot run code. Raises CheckpointError.
    """
    path = folder / FILE
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
