"""Weights & Biases, in parallel to the record: the same numbers, for people who look at W&B.

The record is the truth; this is a copy of it that must never slow or break a run. Whatever goes wrong here
(no package, no key, no server, no disk) is one warning, and training goes on. Used by rank 0 at the ends of
epochs only. wandb is imported when a run is opened, and never with mode "none".

What a run looks like there: id = identity, group = study (or sweep), name and configuration of the cell (nested keys,
next to `cell` and `attempt`, which say what else a report needs), one history row per epoch, and a summary
with the values of the last epoch and `status`. An attempt begins by logging again what the record holds of
the attempts before it (online: what the server lacks), so the file of the last attempt is the whole run:
nothing depends on whether earlier files survived a SIGKILL or were synced.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_module.cell import record
from lightning_module.cell.identity import Cell, canonical, nested
from lightning_module.support.command_line import command
from lightning_module.support.errors import log, one_line
from lightning_module.tracking.sweeps import carried
from lightning_module.tracking.sweeps import group as sweep_group

if TYPE_CHECKING:
    import wandb

JOB_TYPE = "train"
TAG = 64
"""Characters of a tag, the most that W&B takes."""
REACH_TIMEOUT = 10.0
"""Seconds to wait for a server before the run goes offline."""
FINISH_TIMEOUT = 30.0
"""Seconds to wait at the end of an online run; what is not uploaded by then is on disk for `wandb sync`."""
ROOM = 1 << 19
"""Bytes that must be free for the files of a run: one of 164 epochs on CIFAR-10 takes 160 kB, ImageNet's 370 kB."""

_unreachable: dict[str | None, str] = {}
"""Servers that this process has already waited for in vain, and why: the next cell does not wait again."""


def run_config(cell: Cell, attempt: Mapping[str, Any], sweeps: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration shown on W&B: what names the cell, `cell` (the rest of it), `attempt`, and `sweeps`."""
    about = {key: value for key, value in cell.to_json().items() if key != "config"}
    return {
        **nested(canonical(cell.config)),
        "cell": {"schema": record.SCHEMA, **about},
        "attempt": {key: value for key, value in attempt.items() if key != "event"},
        "sweeps": dict(sweeps),
    }


def tags(cell: Cell, group: str | None) -> list[str]:
    """What one filters by on W&B: the study or sweep, the data, and the kind of network."""
    flat = canonical(cell.config)
    shortcut = flat.get("model.shortcut")
    kind = "plain" if shortcut == "none" else f"shortcut {shortcut}" if shortcut else None
    return [str(tag)[:TAG] for tag in (group, flat.get("data.name"), flat.get("model.block"), kind) if tag]


class Tracker:
    """The W&B run of a cell. Make one with `Tracker.open`; no method of it raises.

    url: address of the run on its server, "" without one.
    """

    def __init__(self, run: wandb.Run | None = None, url: str = "") -> None:
        self._run = run
        self.url = url
        self._events: list[dict[str, Any]] = []

    @classmethod
    def open(
        cls,
        mode: Literal["offline", "online", "none"],
        cell: Cell,
        folder: Path,
        *,
        project: str,
        entity: str | None = None,
        study: str | None = None,
        base_url: str | None = None,
    ) -> Tracker:
        """Start (or resume) the W&B run of a cell, files in `folder/wandb/`, after `record.Writer.start`.

        base_url: of the server, None for what wandb takes (WANDB_BASE_URL, else what
        `wandb login --host` was told, else the cloud).
        Online without a key or a server that answers within REACH_TIMEOUT seconds becomes offline.
        """
        if mode == "none":
            return cls()
        try:
            before = record.read(folder)
            this = before.attempts[-1] if before.attempts else {"attempt": 1}
            sweeps = carried(folder)
            group = study or sweep_group(sweeps)
            arguments = {
                "project": project,
                "entity": entity,
                "id": cell.identity,
                "name": cell.name,
                "group": group,
                "job_type": JOB_TYPE,
                "tags": tags(cell, group),
                "config": run_config(cell, this, sweeps),
                "allow_val_change": True,
                "resume": "allow",
                "reinit": "create_new",
            }
            _check_room(folder)
            run = _start(mode, folder, base_url, arguments)
            for handler in logging.getLogger("wandb").handlers:  # its debug.log: of a disk that fills later
                handler.handleError = lambda record: None  # type: ignore[method-assign]
            run.define_metric("epoch")
            run.define_metric("*", step_metric="epoch")
            run.summary["status"] = "running"
            url = "" if run.offline else run.url or ""
            known = dict(run.summary).get("epoch", 0)  # what a server already has of it; offline nothing
        except Exception as error:  # an outage of W&B is never one of ours
            log.warning("W&B is off for %s (%s); training goes on", cell.name, one_line(error))
            return cls()
        tracker = cls(run, url)
        for line in before.epochs:
            if line["epoch"] > known:
                tracker.log(line["epoch"], line["step"], {key: line[key] for key in line if key != "event"})
        for event in before.events:
            tracker.event(event["event"], **{key: event[key] for key in event if key != "event"})
        return tracker

    def log(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics at the end of an epoch (1, 2, ...); step: optimizer steps. About 1 ms."""
        self._try(lambda run: run.log({"epoch": epoch, "step": step, **metrics}))

    def event(self, kind: str, **content: Any) -> None:
        """A fact about the run, as plain data, kept in the summary under `events`."""
        self._events.append({"event": kind, **content})
        self._try(lambda run: run.summary.update({"events": list(self._events)}))

    def finish(self, status: str, summary: Mapping[str, Any] | None = None) -> None:
        """The end of the run: its status ("finished", "diverged", "failed", "killed") and final values."""

        def end(run: wandb.Run) -> None:
            run.summary.update({**(summary or {}), "status": status})
            run.finish(exit_code=0 if status in record.FINAL else 1)

        self._try(end)
        self._run = None

    def _try(self, call: Callable[[wandb.Run], object]) -> None:
        """Make a call on the run; the first that fails is the last, with a warning."""
        if self._run is None:
            return
        try:
            call(self._run)
        except Exception as error:  # as above
            log.warning("W&B is off for %s (%s); training goes on", self._run.name, one_line(error))
            self._run = None


def _check_room(folder: Path) -> None:
    """OSError without room for W&B's files: wandb would go on, and say so in a thousand lines."""
    place = folder / "wandb"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(bytes(ROOM))
        file.flush()


def _start(
    mode: Literal["offline", "online"], folder: Path, base_url: str | None, arguments: Mapping[str, Any]
) -> wandb.Run:
    """wandb.init, online if asked for and possible, with the settings that survive a SIGKILL."""
    # Otherwise it telephones home even offline, and waits for an answer at the end.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    def settings(mode: Literal["offline", "online"]) -> wandb.Settings:
        made = wandb.Settings(
            mode=mode,
            root_dir=str(folder),
            silent=True,
            console="off",
            symlink=False,
            disable_git=True,
            disable_code=True,
            save_code=False,
            init_timeout=REACH_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
            x_save_requirements=False,
            x_transaction_log_flush_interval=1.0,
        )
        if base_url:
            made.base_url = base_url
        return made

    if mode == "online":
        if base_url not in _unreachable:
            try:
                _log_in(base_url)
                return wandb.init(**arguments, settings=settings("online"))
            except Exception as error:  # whatever it is, the run can be logged offline
                _unreachable[base_url] = one_line(error)
        log.warning(
            "W&B is not reachable (%s); %s is logged offline: push it later with  %s",
            _unreachable[base_url],
            arguments["name"],
            command("sync", f"{arguments['entity'] or 'ENTITY'}/{arguments['project']}", runs=folder.parent),
        )
    return wandb.init(**arguments, settings=settings("offline"))


def _log_in(base_url: str | None) -> None:
    """Check key and server without ever asking at the terminal; RuntimeError or wandb's own error if not."""
    import wandb

    os.environ.setdefault("WANDB_HTTP_TIMEOUT", str(int(REACH_TIMEOUT)))
    settings = wandb.Settings(silent=True)
    if base_url:
        settings.base_url = base_url
    wandb.setup(settings)
    if not wandb.login(prompt=False, verify=True):
        raise RuntimeError("no API key: run `wandb login`")
