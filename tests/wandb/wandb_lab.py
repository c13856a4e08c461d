"""What the tests of this folder share: attempts at cells in processes of their own, and `wandb sync`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from small import ROOT
from wandb_server import Run, Server
from wandb_worker import make_cell

from ablations.sweep.manifest import Manifest
from reports.sources import Frames

ATTEMPTS = [
    {"seed": 0, "last": 5},
    {"seed": 1, "last": 5},
    {"seed": 0, "last": 4, "depth": 32},
    {"seed": 13, "last": 3, "end": "diverged"},
    {"seed": 2, "last": 2, "end": "failed"},
]
KILLED = [{"seed": 3, "last": 3, "end": "kill"}]
RESUMED = [{"seed": 3, "first": 3, "last": 6}]
CUT_OFF = [{"seed": 4, "last": 3, "end": "kill"}]


def work(
    runs: Path,
    attempts: list[dict[str, Any]],
    mode: str = "offline",
    limits: dict[str, float] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run wandb_worker.py; the caller looks at its exit. limits: seconds that are not the usual ones."""
    task = json.dumps(
        {
            "mode": mode,
            "runs": str(runs),
            "attempts": attempts,
            "limits": {"FINISH_TIMEOUT": 3, **(limits or {})},
        }
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    home = {"HOME": str(runs.parent), "NETRC": str(runs.parent / "netrc"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(Path(__file__).parent / "wandb_worker.py"), task],
        env=clean | home | environment,
        cwd=runs.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def push(folders: Iterable[Path], **environment: str) -> None:
    """`wandb sync` of some `offline-run-*` folders to lab/p, however often they were synced before."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-synced", "-e", "lab", "-p", "p"]
    paths = sorted(folders)
    where = paths[0].parents[2]  # it leaves its logs in the current folder
    subprocess.run(
        [*command, *map(str, paths)],
        env=os.environ | environment,
        cwd=where,
        check=True,
        capture_output=True,
        timeout=100,
    )


def edit(run: Run, **changes: dict[str, Any]) -> None:
    """Change a run on the server as one does by hand: "config" and "summary", a key at a time."""
    for part, values in changes.items():
        setattr(run, part, json.dumps(json.loads(getattr(run, part)) | values))


def log_foreign(folder: Path, name: str, config: dict[str, Any], row: dict[str, Any]) -> None:
    """Somebody else's run of the same job type, logged as they do."""
    import wandb

    settings = {"project": "p", "entity": "lab", "job_type": "train", "dir": folder, "id": name}
    with wandb.init(**settings, config=config, reinit="create_new") as run:
        run.define_metric("loss", summary="max")
        run.log(row)


def share(folder: Path, server: Server) -> int:
    """Make lab/p a project that others use too, with runs that look like ours at first sight; how many they are."""
    log_foreign(folder, "lstm", {"cell": "lstm", "attempt": 3}, {"loss": 1.0, "epoch": 1})
    log_foreign(folder, "none", {"cell": None}, {"loss": 2.0, "step": "first", "epoch": 1})
    log_foreign(folder, "gru", {"cell": {"units": 5}, "seed": 1}, {"epoch": {"a": 1}, "events": 5})
    log_foreign(folder, "gru-again", {"cell": {"units": 5}, "seed": 1}, {"epoch": 2})
    edit(server.projects["lab", "p"].runs["lstm"], config={"wandb_version": 1}, summary={"epoch": {"max": 5}})
    return 4


OWN = ["checksum", "url"]
"""What each source says for itself."""


def same(one: Frames, other: Frames) -> None:
    """Every value of the frames, but for OWN."""
    pd.testing.assert_frame_equal(one.runs.drop(columns=OWN), other.runs.drop(columns=OWN), check_exact=True)
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)
    assert dict(one.events) == dict(other.events)


def manifest(runs: Path, *names: str) -> Manifest:
    """A sweep that asked for these cells, or for all that have a record and one that has none."""
    cells = [json.loads(path.read_text().splitlines()[0]) for path in sorted(runs.glob("*/record.jsonl"))]
    chosen = [cell for cell in cells if not names or cell["identity"] in names]
    lost = [] if names else [make_cell(99).to_json()]
    factors = ("model.depth", "seed")
    return Manifest(
        "depth", None, ("model.depth=20,32",), factors, (*chosen, *lost), (), "python run.py -m …"
    )
