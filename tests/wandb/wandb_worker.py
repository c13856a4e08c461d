"""Writes records and logs to W&B as the trainer does, with made-up numbers; a process that tests can kill.

    python wandb_worker.py '{"mode": "offline", "runs": "...", "attempts": [{"seed": 0, "last": 4}, ...]}'

Each attempt starts a cell, or goes on with it from epoch `first`, and logs epochs up to `last`; `end` is a
status, "kill" (SIGKILL after `wait` seconds) or "leave" (without a word). `stop`: after that epoch wandb's
process is sent SIGSTOP, and does nothing any more, or the signals named in `by`. `limits` of the task: seconds,
such as FINISH_TIMEOUT.
"""

from __future__ import annotations

import base64
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lightning_module.cell.identity import Cell
from lightning_module.cell.record import Writer
from lightning_module.support.disk import Lock
from lightning_module.tracking import wandb_process, wandb_run, wandb_server, wandb_start
from lightning_module.tracking.wandb_run import Tracker


def make_cell(seed: int, depth: int = 20) -> Cell:
    """A cell as the trainer makes them, without a network behind it."""
    config = {
        "model": {"depth": depth, "shortcut": "A", "block": "basic", "gate_bias": 0.5},
        "data": {"name": "digits", "root": "data"},
        "recipe": {"drops": [240, 340], "warm_up": None, "learning_rate": 1e-1},
        "trainer": {"precision": "32", "devices": 1},
        "seed": seed,
    }
    return Cell(
        config, (f"model.depth={depth}", f"seed={seed}"), f"ResNet-{depth} A seed {seed}", 272474, 40_813_184
    )


def metrics(seed: int, epoch: int, attempt: int) -> dict[str, float]:
    """Numbers that need all 64 bits, and one that is none."""
    loss = math.nan if seed == 13 and epoch == 3 else math.exp(-epoch) + seed / 7
    error = 100 / (epoch + seed + math.pi)
    return {
        "train/loss": loss, "train/error": error / 3, "test/error": error, "learning_rate": 0.1 / epoch,
        "seconds": 0.1 * attempt + epoch / 3, "images_per_second": 1000.0 + epoch,
    }  # fmt: skip


def attempt(mode: Any, runs: Path, spec: dict[str, Any], project: str) -> None:
    """One attempt at a cell."""
    cell = make_cell(spec["seed"], spec.get("depth", 20))
    first, last, end = spec.get("first", 1), spec["last"], spec.get("end", "finished")
    with Lock(runs / cell.identity):
        writer = Writer(runs / cell.identity, cell)
        versions = {"torch": "2.13.0", "python": "3.11.7"}
        writer.start(
            (first - 1) * 10, {"commit": "0" * 40, "dirty": False, "versions": versions, "hardware": "CPU"}
        )
        opened = time.perf_counter()
        tracker = Tracker.open(
            spec.get("mode", mode),
            cell,
            runs / cell.identity,
            project=project,
            entity=spec.get("entity"),
            study=spec.get("study", "depth"),
        )
        logged = time.perf_counter()
        for epoch in range(first, last + 1):
            numbers = metrics(spec["seed"], epoch, writer.attempt)
            writer.epoch(epoch, epoch * 10, numbers)
            tracker.log(epoch, epoch * 10, numbers)
            if epoch == spec.get("stop") and tracker._run:
                for name in spec.get("by", ["SIGSTOP"]):
                    os.kill(tracker._run.process._process.pid, signal.Signals[name])
        if end == "kill":
            time.sleep(spec.get("wait", 1.5))
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "leave":
            return
        bits = base64.b64encode(random.Random(spec["seed"]).randbytes(6250)).decode()  # as many as ImageNet's
        right = {"test": "test", "images": 50_000, "error": bits, "top5_error": bits}
        writer.event("right_images", step=last * 10, **right)
        tracker.event("right_images", step=last * 10, **right)
        responses = [["stem", 1.25], ["head", 0.1 + 0.2]]
        writer.event("layer_responses", step=last * 10, responses=responses)
        tracker.event("layer_responses", step=last * 10, responses=responses)
        why = {"error": "ValueError: no"} if end == "failed" else {}
        writer.finish(end, last * 10, **why)
        tracker.finish(end, why)
        finished = time.perf_counter()
        print(f"{logged - opened:.3f} {finished - logged:.3f}", flush=True)


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    for module in (wandb_start, wandb_server, wandb_process, wandb_run):
        for name, seconds in task["limits"].items():
            if hasattr(module, name):
                setattr(module, name, seconds)
    for one in task["attempts"]:
        attempt(task["mode"], Path(task["runs"]), one, task.get("project", "p"))
