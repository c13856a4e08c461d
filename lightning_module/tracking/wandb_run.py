"""Weights & Biases, in parallel to the record: the same numbers, for people who look at W&B.

The record is the truth; this is a copy of it that must never slow or break a run. Whatever goes wrong here
(no package, no key, no server, no disk) is one warning, and training goes on. Used by rank 0 at the ends of
epochs only. wandb runs in a process of its own (wandb_process.py), in bounded time, and never with mode "none".

What a run looks like there: id = identity (or IDENTITY-2 and so on, where that was deleted), group = study or
sweep, name and configuration of the cell (nested keys, next to `cell`, `attempt` and `sweeps`, which say what
else a report needs), one history row per epoch, and a summary with the values of the last epoch and `status`. An
attempt begins by logging again what the record holds of the attempts before it (online: what the server lacks),
so the file of the last attempt is the whole run: nothing depends on whether earlier files survived a SIGKILL or
were synced.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from lightning_module.cell import record
from lightning_module.cell.identity import Cell, canonical, nested
from lightning_module.support.errors import log, one_line
from lightning_module.tracking import wandb_server, wandb_start
from lightning_module.tracking.patience import said
from lightning_module.tracking.sweeps import carried
from lightning_module.tracking.sweeps import group as sweep_group
from lightning_module.tracking.wandb_environment import TAG
from lightning_module.tracking.wandb_start import Opened, Place

JOB_TYPE = "train"
ROOM = 1 << 19
"""Bytes that must be free for the files of a run: one of 164 epochs on CIFAR-10 takes 160 kB, ImageNet's 370 kB."""
ARRIVAL_TIMEOUT = 10.0
"""Seconds until a server shows what it was given; usually it does so at once."""


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
    network = flat.get("model.family", flat.get("model.block"))
    return [str(tag)[:TAG] for tag in (group, flat.get("data.name"), network, kind) if tag]


class Tracker:
    """The W&B run of a cell. Make one with `Tracker.open`; no method of it raises, or takes longer than said.

    url: address of the run on its server, "" without one.
    """

    def __init__(self, run: Opened | None = None, name: str = "", url: str = "") -> None:
        self._run, self._name = run, name
        self.url = url
        self._events: list[dict[str, Any]] = []
        self._epochs: set[int] = set()

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
        further_tags: Iterable[str] = (),
        group: str | None = None,
    ) -> Tracker:
        """Start (or resume) the W&B run of a cell, files in `folder/wandb/`, after `record.Writer.start`.

        group: on W&B, if it is not the study. base_url: see `wandb_server.Server`. Online without a key or a
        server that answers in time becomes offline.
        """
        if mode == "none":
            return cls()
        try:
            before = record.read(folder)
            this = before.attempts[-1] if before.attempts else {"attempt": 1}
            sweeps = carried(folder)
            own = study or sweep_group(sweeps)
            arguments = {
                "id": cell.identity,
                "name": cell.name,
                "group": group or own,
                "job_type": JOB_TYPE,
                "tags": list(dict.fromkeys([*tags(cell, own), *further_tags])),
                "config": run_config(cell, this, sweeps),
                "allow_val_change": True,
                "resume": "allow",
            }
            _check_room(folder)
            run = wandb_start.start(mode, Place(folder, project, entity, base_url), arguments)
        except Exception as error:  # an outage of W&B is never one of ours
            log.warning("W&B is off for %s (%s); training goes on", cell.name, one_line(error))
            return cls()
        tracker = cls(run, cell.name, run.url)
        for line in before.epochs:
            tracker._epochs.add(line["epoch"])
            if line["epoch"] > run.known:
                tracker.log(line["epoch"], line["step"], {key: line[key] for key in line if key != "event"})
        for event in before.events:
            tracker.event(event["event"], **{key: event[key] for key in event if key != "event"})
        return tracker

    def log(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics at the end of an epoch (1, 2, ...); step: optimizer steps. Far less than 1 ms."""
        self._epochs.add(epoch)
        self._try(lambda run: run.process.send("log", row={"epoch": epoch, "step": step, **metrics}))

    def event(self, kind: str, **content: Any) -> None:
        """A fact about the run, as plain data, kept in the summary under `events`."""
        self._events.append({"event": kind, **content})
        self._try(lambda run: run.process.send("summary", values={"events": self._events}))

    def finish(self, status: str, summary: Mapping[str, Any] | None = None) -> None:
        """The end of the run: its status ("finished", "diverged", "failed", "killed") and final values.

        A warning tells how to push an online run that did not arrive as a whole.
        """

        def end(run: Opened) -> None:
            run.process.send("summary", values={**(summary or {}), "status": status})
            timeout = wandb_start.FINISH_TIMEOUT + wandb_start.GRACE
            with said("W&B to take the rest of the run", timeout):
                run.process.ask(timeout, "finish", exit_code=0 if status in record.FINAL else 1)
            run.process.busy = False
            if run.server and (lacking := self._lacking(run, status)):
                self._warn_of_push(run, lacking)

        self._try(end)
        self._run = None

    def _lacking(self, run: Opened, status: str) -> str:
        """What the server does not have of the run although it was given all of it; "" if it has everything."""
        assert run.server
        deadline, pause = time.monotonic() + ARRIVAL_TIMEOUT, 0.2
        while True:
            left = max(1.0, deadline - time.monotonic())
            try:
                found = run.server.runs(run.place.entity, run.place.project, run.run_id, patience=left)
            except wandb_server.ServerError as error:
                return f"whether it arrived is not known: {one_line(error)}"
            lacking = self._compare(found.get(run.run_id), status)
            if not lacking or time.monotonic() + pause > deadline:
                return lacking
            time.sleep(pause)
            pause *= 2

    def _compare(self, found: Mapping[str, Any] | None, status: str) -> str:
        if found is None:
            return "the server does not have it"
        count = found.get("historyLineCount") or 0
        if count < len(self._epochs):
            return f"{count} of {len(self._epochs)} epochs arrived"
        if wandb_server.summary(found).get("status") != status:
            return "its end did not arrive"
        return ""

    def _warn_of_push(self, run: Opened, why: str) -> None:
        log.warning("%s is not whole on W&B (%s); push it with  %s", self._name, why, run.place.push)

    def _try(self, call: Callable[[Opened], object]) -> None:
        """Make a call on the run; the first that fails is the last, with a warning."""
        if self._run is None:
            return
        try:
            call(self._run)
        except Exception as error:  # as above
            run, self._run = self._run, None
            run.process.stop()
            if run.server:
                self._warn_of_push(run, one_line(error))
            else:
                log.warning("W&B is off for %s (%s); training goes on", self._name, one_line(error))


def _check_room(folder: Path) -> None:
    """OSError without room for W&B's files: wandb would go on, and say so in a thousand lines."""
    place = folder / "wandb"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(bytes(ROOM))
        file.flush()
