"""Cells of the papers' recipe on real images, several side by side, until the time is over.

What is not finished then saves a checkpoint, and goes on in another call from what came back of this one.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.gpu.machine import FILE_LIMIT, images, send_back
from benchmarks.gpu.plan import Plan
from lightning_module.cell import record
from lightning_module.cell.record import Record

SWEEPS = (
    "recipe=he2015_cifar model.depth=20 seed=0,1",
    "recipe=he2015_cifar_tenth ablation=degradation model.depth=20,56",
)
"""What is trained, side by side: each a sweep of its own."""
TO_SAVE, TO_PACK = 15, 10
"""Seconds that cells have to save their checkpoints, and those for sending back."""
ARCHIVES = 3
"""Of checkpoints: 64 MiB come back, in at most eight files."""


def science(plan: Plan, kit: Path, base: Path, sweeps: Sequence[str], jobs: int, toy: bool) -> None:
    """Train the sweeps side by side, `jobs` cells of each at a time, as far as the time allows."""
    runs = base / "runs"
    data = ["data=digits"]
    if not toy:
        root = images(plan, kit, base)
        data = [
            "data=cifar10",
            f"data.root={root}",
            "data.verify=false",
            "data.download=false",
        ]
    here = ["logger=none", f"runs={runs}", "trainer.progress=false"]
    here += ["hydra/launcher=local", f"hydra.launcher.jobs={jobs}"]
    try:
        words = [(sys.executable, "run.py", "-m", *data, *here, *shlex.split(sweep)) for sweep in sweeps]
        # The shell outlives the SIGTERM that it and the sweeps are sent, until the last of them has saved.
        together = f"trap : TERM; {' & '.join(map(shlex.join, words))} & wait; wait"
        send = partial(send_records, plan, runs)
        name = "science: " + "; ".join(sweeps)
        plan.part(name, "sh", "-c", together, keep=TO_PACK, to_save=TO_SAVE, meanwhile=send)
        plan.say("\n" + "\n".join(table(record.read_all(runs).values())))
    finally:
        send_checkpoints(plan, runs)


def table(records: Iterable[Record]) -> list[str]:
    """How far every cell came, in Markdown."""
    lines = ["| cell | state | step | test error % | train error % | images/s | seconds | all steps take |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for one in records:
        if not (last := one.last):
            lines.append(
                f"| {one.cell.get('name', one.folder.name)} | {one.state} {one.damage} | – | – | – | – | – | – |"
            )
            continue
        seconds = sum(epoch["seconds"] for epoch in one.epochs)
        whole = one.cell["config"]["recipe.steps"] * seconds / last["step"] / 60
        lines.append(
            f"| {one.cell['name']} | {one.state} | {last['step']} | {last.get('test/error', float('nan')):.2f} "
            f"| {last['train/error']:.2f} | {last['images_per_second']:,.0f} | {seconds:.0f} | {whole:.1f} min |"
        )
    return lines


def send_records(plan: Plan, runs: Path) -> None:
    """Everything but the checkpoints."""
    files = [path for path in sorted(runs.rglob("*")) if path.is_file() and ".ckpt" not in path.name]
    send_back(plan, runs, files, "runs.tgz")


def send_checkpoints(plan: Plan, runs: Path) -> None:
    """Checkpoints of the cells that have no result yet, those that came furthest first, as many as come back."""
    known = record.read_all(runs).values()
    open_ = sorted(
        (one for one in known if one.state not in record.FINAL), key=lambda one: -one.last.get("step", 0)
    )
    archives: list[list[Path]] = [[] for _ in range(ARCHIVES)]
    for one in open_:
        file = one.folder / "last.ckpt"
        if not file.exists():
            continue
        size = file.stat().st_size + 4096
        fits = [
            files for files in archives if size + sum(f.stat().st_size + 4096 for f in files) < FILE_LIMIT
        ]
        if fits:
            fits[0].append(file)
        else:
            plan.say(f"the checkpoint of {one.cell['name']} does not come back: no room")
    for number, files in enumerate(archives, start=1):
        if files:
            send_back(plan, runs, files, f"runs-checkpoints-{number}.tar")
