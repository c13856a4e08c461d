"""What the WANDB_* variables of the environment say to a training: obeyed, or overridden with a word.

What was chosen on the command line counts more than they do, and they count more than what is ours by default.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lightning_module.cell.config import LoggerConfig, check_place
from lightning_module.support.errors import log
from lightning_module.tracking.wandb_environment import OVERRIDDEN, TAG

PROJECT = "residual-ablations"
"""Where runs go if nobody says where."""
MODES: Mapping[str, str] = {"dryrun": "offline", "run": "online", "offline": "offline", "online": "online"}
"""WANDB_MODE -> what it means here; "disabled" is logger=none."""


@dataclass(frozen=True)
class Wanted:
    """Where, and as what, a run is logged."""

    mode: Literal["offline", "online", "none"]
    project: str
    entity: str | None
    group: str | None
    tags: tuple[str, ...] = ()


def wanted(logger: LoggerConfig, study: str | None) -> Wanted:
    """What the configuration and the environment want together; ConfigError for a name that W&B does not allow.

    study: the group, unless $WANDB_RUN_GROUP names another.
    """
    get = os.environ.get
    if logger.mode == "none":
        return Wanted("none", PROJECT, None, None)
    if (mode := _mode(logger)) == "none":
        return Wanted("none", PROJECT, None, None)
    project = logger.project or get("WANDB_PROJECT") or PROJECT
    entity = logger.entity or get("WANDB_ENTITY") or None
    check_place("WANDB_PROJECT", project, "WANDB_ENTITY", entity)  # those of the configuration were checked
    for name, why in OVERRIDDEN.items():
        if get(name):
            _say(f"{name}={get(name)} has no effect: {why}")
    return Wanted(mode, project, entity, get("WANDB_RUN_GROUP") or study, _tags(get("WANDB_TAGS", "")))


def _tags(text: str) -> tuple[str, ...]:
    tags = [tag.strip() for tag in text.split(",") if tag.strip()]
    for tag in tags:
        if len(tag) > TAG:
            _say(f"WANDB_TAGS: {tag} is cut to {TAG} characters, the most that W&B takes")
    return tuple(tag[:TAG] for tag in tags)


def _mode(logger: LoggerConfig) -> Literal["offline", "online", "none"]:
    text = os.environ.get("WANDB_MODE", "").lower()
    off = os.environ.get("WANDB_DISABLED", "").lower()
    if text == "disabled" or off in ("true", "1", "yes", "on"):
        _say(f"W&B is off: {'WANDB_MODE=disabled' if text == 'disabled' else f'WANDB_DISABLED={off}'}")
        return "none"
    if text and text not in MODES:
        _say(f"WANDB_MODE={text} has no effect; it may be online, offline or disabled")
    elif MODES.get(text) == "offline" and logger.mode == "online":
        _say(f"WANDB_MODE={text}: W&B is offline, in spite of logger=wandb")
        return "offline"
    elif MODES.get(text) == "online" and logger.mode == "offline":
        _say(f"WANDB_MODE={text} has no effect with logger=wandb_offline; logger=wandb is online")
    return logger.mode


@functools.cache
def _say(sentence: str) -> None:
    """Warn, once; a sweep in several processes shows the same sentence once, too."""
    log.warning(sentence)
