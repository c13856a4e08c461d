"""How the W&B run of a cell is opened: online if that is wanted and possible, else offline, in bounded time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lightning_module.support.command_line import command
from lightning_module.support.disk import cache_folder
from lightning_module.support.errors import log, one_line
from lightning_module.tracking import wandb_server
from lightning_module.tracking.patience import said
from lightning_module.tracking.wandb_environment import environment
from lightning_module.tracking.wandb_process import Process, process
from lightning_module.tracking.wandb_server import DELETED, Server, ServerError, run_ids

FINISH_TIMEOUT = 30.0
"""Seconds to wait at the end of an online run; what is not uploaded by then is pushed later."""
OFFLINE_TIMEOUT = 30.0
"""Seconds until wandb has opened its files; usually one."""
GRACE = 5.0
"""Seconds for wandb to keep its own limits, before it is killed."""
FORGET = 60.0
"""Seconds for which a server that did not answer is left alone: the cells in between do not wait for it."""


@dataclass(frozen=True)
class Place:
    """Where the run of a cell goes: the folder of its record, and on a server entity and project."""

    folder: Path
    project: str
    entity: str | None = None
    base_url: str | None = None

    @property
    def push(self) -> str:
        """How to push it later."""
        where = f"{self.entity or 'ENTITY'}/{self.project}"
        return command("sync", where, runs=self.folder.parent)


@dataclass(frozen=True)
class Opened:
    """A run that wandb has open. known: the last epoch that a server has of it; server: None offline."""

    process: Process
    run_id: str
    place: Place
    url: str
    known: int
    server: Server | None


def start(mode: Literal["offline", "online"], place: Place, arguments: Mapping[str, Any]) -> Opened:
    """Open a run with these arguments of wandb.init; its id is the identity of its cell."""
    why = ""
    if mode == "online":
        try:
            return _online(place, arguments)
        except Exception as error:  # whatever it is, the run may be logged offline
            why = one_line(error)
    opened = _open("offline", place, arguments, None, environment())
    if why:  # not before: what keeps a run from being logged at all is not the server
        log.warning(
            "W&B is not reachable (%s); %s is logged offline: push it later with  %s",
            why, arguments["name"], place.push,
        )  # fmt: skip
    return opened


def _online(place: Place, arguments: Mapping[str, Any]) -> Opened:
    server = Server(place.base_url)
    note = _note(server, place)
    if why := _why_it_failed(note):
        raise ServerError(why)
    try:
        if not server.account.key and os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):  # for wandb alone
            return _open("online", place, arguments, None, environment(server.address))
        opened = _on(server, place, arguments)
    except (RuntimeError, TimeoutError) as error:
        if getattr(error, "status", 0) != DELETED:  # that is the run's matter
            with contextlib.suppress(OSError):
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(one_line(error), encoding="utf-8")
        raise
    with contextlib.suppress(OSError):
        note.unlink()
    return opened


def _note(server: Server, place: Place) -> Path:
    """Where the cells of this user on this machine, each in its process perhaps, tell each other that it failed.

    For another entity or project, which the user may have mended, it is another.
    """
    about = f"{socket.gethostname()} {server.address} {server.account.key} {place.entity} {place.project}"
    return cache_folder() / f"wandb-{hashlib.sha256(about.encode()).hexdigest()[:16]}.txt"


def _why_it_failed(note: Path) -> str:
    """Why it failed less than FORGET seconds ago; "" if it did not."""
    try:
        age = time.time() - note.stat().st_mtime
        return note.read_text(encoding="utf-8") if abs(age) < FORGET else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _on(server: Server, place: Place, arguments: Mapping[str, Any]) -> Opened:
    """The run on a server, under the first id that was not deleted there."""
    until = time.monotonic() + wandb_server.REACH_TIMEOUT
    place = replace(place, entity=place.entity or server.default_entity())
    ids = run_ids(arguments["id"])
    patience = max(1.0, until - time.monotonic())
    there = server.runs(place.entity, place.project, *ids, patience=patience)
    first = max((index for index, name in enumerate(ids) if name in there), default=0)
    ours = environment(server.address, server.account.key)
    for run_id in ids[first:]:
        try:
            return _open("online", place, {**arguments, "id": run_id}, server, ours)
        except (RuntimeError, TimeoutError):  # wandb tries for ever to make one that was deleted
            if run_id in there or not server.was_deleted(place.entity, place.project, run_id):
                raise
            log.warning(
                "%s was deleted on W&B as %s, an id that cannot be used again", arguments["name"], run_id
            )
    raise ServerError(f"it was deleted there as {', '.join(ids)}", DELETED)


def _open(
    mode: Literal["offline", "online"],
    place: Place,
    arguments: Mapping[str, Any],
    server: Server | None,
    variables: Mapping[str, str],
) -> Opened:
    wandb = process({"WANDB_PROGRAM": sys.argv[0], **variables})
    wandb.busy = True
    settings = {
        "mode": mode,
        "root_dir": str(place.folder.absolute()),
        "silent": True,
        "console": "off",
        "symlink": False,
        "disable_git": True,
        "disable_code": True,
        "save_code": False,
        "init_timeout": wandb_server.REACH_TIMEOUT,
        "finish_timeout": FINISH_TIMEOUT,
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": 1.0,
        "x_stats_pid": os.getpid(),
    }
    given = {"project": place.project, "entity": place.entity, **arguments}
    timeout = (wandb_server.REACH_TIMEOUT if server else OFFLINE_TIMEOUT) + GRACE
    try:
        with said(server.address if server else "wandb", timeout):
            answer = wandb.ask(timeout, "open", settings=settings, arguments=given)
    except BaseException:
        wandb.stop()
        raise
    return Opened(wandb, arguments["id"], place, answer["url"], answer["known"], server)
