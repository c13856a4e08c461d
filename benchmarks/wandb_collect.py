"""How fast are runs and histories collected from W&B, in requests, seconds and memory?

    python benchmarks/wandb_collect.py [--runs 10000] [--histories 1000] [--latency 0.05]

A loopback server (tests/wandb/wandb_server.py) answers every request after the latency. Templates with 40
configuration keys, 30 metrics and 200 epochs get there by `wandb.init` and `wandb sync`; because that takes
0.1 s a run, the server then keeps each under many names. Against: the public API of the same wandb package,
its default (lazy) listing and a loop over `run.scan_history()`, measured on a few runs and scaled. At the end
stand the limits that are promised; exit code 1 if one of them does not hold.

On 2 cores shared with other work, client and server on the same two:

    collect 10,000 runs                               10.40 s       10 requests  30 metrics, peak 342 MB
    collect them again, nothing new                    2.52 s        1 requests  peak 421 MB
    collect 1,000 histories of 200 epochs             16.97 s       41 requests  0.04 each, peak 642 MB
    collect them again, nothing new                    2.02 s        1 requests
    wandb.Api().runs(), default, 40 runs               2.74 s       42 requests
      scaled to 10,000                               686.10 s   10,500 requests
    loop over run.scan_history(), 40 runs              8.41 s      120 requests
      scaled to 1,000                                210.27 s    3,000 requests
    holds         10,000 runs in at most 20 requests: 10
    holds         again, in at most 2 requests: 1
    holds         again, in less than 3 s: 2.52 s
    holds         a history in at most 2 requests: 0.04
    holds         histories at least 10 times faster than the loop: 12 times
    holds         memory of the client under 1 GB: 729 MB
    load average 5.4 on 2 cores: times say little if it is the larger number
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "wandb")]

TEMPLATES = 10
CELLS = 24
"""Of the sweep that each run carries."""
EPOCHS = 200
METRICS = 30
KEYS = 40
SAMPLE = 40
"""Runs on which the slow ways are measured."""


def make(folder: Path) -> None:
    """Write the templates as offline runs; called in a process of its own."""
    from lightning_module.cell.identity import Cell
    from lightning_module.cell.record import Writer
    from lightning_module.tracking.wandb_run import Tracker

    model = {f"key_{i}": i / 7 for i in range(KEYS - 3)} | {"depth": 20}
    cells = [
        Cell({"model": model, "data": {"name": "digits"}, "seed": seed}, (), f"ResNet-20 A seed {seed}", 1, 1)
        for seed in range(CELLS)
    ]
    (folder / "sweeps").mkdir(parents=True)
    asked = {"name": "s", "command": "run", "cells": [cell.to_json() for cell in cells]}
    (folder / "sweeps" / "s.json").write_text(json.dumps(asked))
    for seed, cell in enumerate(cells[:TEMPLATES]):
        (folder / cell.identity).mkdir(parents=True)
        writer = Writer(folder / cell.identity, cell)
        writer.start(0, {"commit": "0"})
        tracker = Tracker.open("offline", cell, folder / cell.identity, project="p", study="s")
        for epoch in range(1, EPOCHS + 1):
            tracker.log(epoch, epoch, {f"test/metric_{i}": epoch / (i + 3) + seed for i in range(METRICS)})
        tracker.finish("finished")


def multiply(server: Any, count: int) -> None:
    """Keep each run of lab/p under many names, with heartbeats of their own."""
    templates = list(server.projects["lab", "p"].runs.values())
    for run in templates:
        assert len(run.rows) == EPOCHS
    for number in range(count - len(templates)):
        run = templates[number % len(templates)]
        run.copy(f"{number:012x}").__dict__["rows"] = run.rows


def measure(server: Any, call: Callable[[], Any]) -> tuple[Any, float, int]:
    """Result, seconds and requests of a call."""
    server.requests.clear()
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start, len(server.requests)


def peak() -> int:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def client_part(options: argparse.Namespace, server: Any) -> bool:
    """All measurements, printed as a table, and whether each limit holds; True if all do."""
    import wandb

    from reports.sources import wandb_api
    from reports.sources._frames import frames as frames_of
    from reports.sources._wandb_listing import NAMES

    def line(what: str, seconds: float, requests: float, note: str = "") -> None:
        print(f"{what:<46}{seconds:>9.2f} s{requests:>9,.0f} requests  {note}", flush=True)

    def runs_only() -> Any:
        runs = wandb_api.collect(wandb_api.connect("lab", "p"), with_histories=False)
        return frames_of(Path("."), wandb_api.by_identity(runs))

    frames, seconds, requests = measure(server, runs_only)
    assert len(frames.runs) == options.runs
    width = sum("/" in column for column in frames.runs.columns)
    line(f"collect {options.runs:,} runs", seconds, requests, f"{width} metrics, peak {peak()} MB")
    limits = [(f"{options.runs:,} runs in at most 20 requests", f"{requests}", requests <= 20)]
    _, seconds, requests = measure(server, runs_only)
    line("collect them again, nothing new", seconds, requests, f"peak {peak()} MB")
    limits += [
        ("again, in at most 2 requests", f"{requests}", requests <= 2),
        ("again, in less than 3 s", f"{seconds:.2f} s", seconds < 3),
    ]

    names = frozenset(sorted(frames.runs["identity"])[: options.histories])
    wanted = names if len(names) <= NAMES else None
    del frames
    found, seconds, requests = measure(
        server, lambda: wandb_api.collect(wandb_api.connect("lab", "p"), wanted)
    )
    assert all(run.rows.shape == (EPOCHS, METRICS + 2) for run in found.values())
    each = requests / len(found)
    line(
        f"collect {len(found):,} histories of {EPOCHS} epochs",
        seconds,
        requests,
        f"{each:.2f} each, peak {peak()} MB",
    )
    limits += [("a history in at most 2 requests", f"{each:.2f}", each <= 2)]
    ours = seconds / len(found)
    _, seconds, requests = measure(server, lambda: wandb_api.collect(wandb_api.connect("lab", "p"), wanted))
    line("collect them again, nothing new", seconds, requests)
    memory = peak()  # before the package's own classes take theirs

    api = wandb.Api()
    some = {"name": {"$in": sorted(names)[:SAMPLE]}}
    factor = options.runs / SAMPLE
    _, seconds, requests = measure(
        server, lambda: [dict(run.config) | dict(run.summary) for run in api.runs("lab/p", filters=some)]
    )
    line(f"wandb.Api().runs(), default, {SAMPLE} runs", seconds, requests)
    line(f"  scaled to {options.runs:,}", seconds * factor, requests * factor)
    listed = list(api.runs("lab/p", filters=some, lazy=False, per_page=1000))
    _, seconds, requests = measure(
        server, lambda: [list(run.scan_history(use_cache=False)) for run in listed]
    )
    line(f"loop over run.scan_history(), {SAMPLE} runs", seconds, requests)
    line(
        f"  scaled to {options.histories:,}",
        seconds / SAMPLE * options.histories,
        requests / SAMPLE * options.histories,
    )
    faster = seconds / SAMPLE / ours
    limits += [
        ("histories at least 10 times faster than the loop", f"{faster:.0f} times", faster >= 10),
        ("memory of the client under 1 GB", f"{memory} MB", memory < 1000),
    ]
    for what, value, holds in limits:
        print(f"{'holds' if holds else 'DOES NOT HOLD':<14}{what}: {value}")
    print(
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: times say little if it is the larger number"
    )
    return all(holds for _, _, holds in limits)


def main() -> None:
    """Run the server in this process's parent and the client in a child, so that memory is the client's."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--runs", type=int, default=10_000)
    p.add_argument("--histories", type=int, default=1_000)
    p.add_argument("--latency", type=float, default=0.05, help="seconds before every answer")
    p.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    p.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.make:
        make(options.make)
        return
    if options.client:
        sys.exit(0 if client_part(options, _RemoteServer()) else 1)
    from wandb_server import Server

    with tempfile.TemporaryDirectory() as scratch, Server() as server:
        folder = Path(scratch)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        environment = clean | server.environment(folder)
        again = [sys.executable, str(Path(__file__).resolve())]
        subprocess.run([*again, "--make", str(folder / "runs")], env=environment, cwd=folder, check=True)
        folders = [str(path) for path in folder.glob("runs/*/wandb/offline-run-*")]
        sync = [sys.executable, "-m", "wandb", "sync", "-e", "lab", "-p", "p", *folders]
        subprocess.run(sync, env=environment, cwd=folder, check=True, capture_output=True)
        multiply(server, options.runs)
        server.latency = options.latency
        counter = folder / "requests"
        server.requests = _Counted(counter)
        child = [*again, "--client", *sys.argv[1:]]
        done = subprocess.run(child, env=environment | {"REQUESTS": str(counter)}, cwd=folder, check=False)
    sys.exit(done.returncode)


class _Counted(list[str]):
    """The server's list of requests, whose length is also the size of a file that the client can see."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("ab", buffering=0)

    def append(self, item: str) -> None:
        """Note one request."""
        self.file.write(b".")


class _RemoteServer:
    """What the client sees of the server: how many requests there were since `clear`."""

    def __init__(self) -> None:
        self.requests = self
        self.path = Path(os.environ["REQUESTS"])
        self.start = 0

    def clear(self) -> None:
        """Count from here."""
        self.start = self.path.stat().st_size

    def __len__(self) -> int:
        return self.path.stat().st_size - self.start


if __name__ == "__main__":
    main()
