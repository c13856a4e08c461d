"""How long a report over 10,000 cells × 200 epochs takes, and how much memory.

Makes the records in a temporary folder first (some minutes of writing are not measured), then times three
fresh processes: without a cache of parsed records, with it, and with one record changed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from ablations.sweep.manifest import Manifest, write  # noqa: E402
from lightning_module.cell.identity import Cell  # noqa: E402


def make(runs: Path, cells: int, epochs: int) -> Manifest:
    """Records of a grid of depth × learning rate × seed, in the trainer's format."""
    declared = []
    rates = max(cells // 100, 1)
    for index in range(cells):
        depth, rate, seed = 20 + 6 * (index % 20), 0.001 * (1 + index // 20 % rates), index // (20 * rates)
        config = {
            "model": {"depth": depth, "shortcut": "A", "width": 16, **{f"option_{k}": k for k in range(12)}},
            "data": {"name": "cifar10", "padding": 4},
            "recipe": {
                "learning_rate": rate,
                "drops": [32000, 48000],
                **{f"option_{k}": k for k in range(12)},
            },
            "seed": seed,
        }
        overrides = (f"model.depth={depth}", f"recipe.learning_rate={rate:g}", f"seed={seed}")
        cell = Cell(config, overrides, f"ResNet-{depth} A seed {seed}", 14_000 * depth, 2_000_000 * depth)
        declared.append(cell.to_json())
        folder = runs / cell.identity
        folder.mkdir(parents=True)
        lines: list[dict[str, object]] = [{"event": "cell", "schema": 1, **declared[-1]}]
        lines.append(
            {"event": "attempt", "attempt": 1, "step": 0, "commit": "abc", "versions": {"torch": "2.13.0"}}
        )
        for epoch in range(1, epochs + 1):
            error = 6 + 80 * math.exp(-epoch / 20) + 0.1 * math.sin(index + epoch)
            metrics = {"train/loss": error / 30, "train/error": error * 0.8, "test/loss": error / 25}
            more = {"test/error": error, "learning_rate": 0.1, "seconds": 12.5, "images_per_second": 4000.0}
            lines.append({"event": "epoch", "epoch": epoch, "step": 391 * epoch, **metrics, **more})
        lines.append({"event": "status", "status": "finished", "step": 391 * epochs})
        (folder / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    factors = ("model.depth", "recipe.learning_rate", "seed")
    manifest = Manifest("speed", None, (), factors, tuple(declared), (), "python run.py -m ...")
    write(runs, manifest)
    return manifest


def report(folder: Path) -> tuple[float, float, float]:
    """Seconds, seconds of processor time and peak MiB of one fresh process that makes the report."""
    code = (
        "import resource, sys; from reports.__main__ import main; "
        f"main(['--runs', {str(folder / 'runs')!r}, '--out', {str(folder / 'out')!r}]); "
        "used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    processor, memory = done.stdout.split()[-2:]
    return time.perf_counter() - start, float(processor), int(memory) / 1024


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cells", type=int, default=10_000)
    p.add_argument("--epochs", type=int, default=200)
    options = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        made = make(folder / "runs", options.cells, options.epochs)
        wrote = time.perf_counter() - start
        print(f"{options.cells:,} cells x {options.epochs} epochs, written in {wrote:.0f} s")
        print(f"{'':22}{'seconds':>9}{'processor':>11}{'MiB':>8}")
        for label in ("first, no cache", "from the cache", "from the cache again"):
            print(f"{label:22}{'{:9.1f}{:11.1f}{:8.0f}'.format(*report(folder))}", flush=True)
        os.utime(folder / "runs" / made.cells[0]["identity"] / "record.jsonl")
        print(f"{'one record changed':22}{'{:9.1f}{:11.1f}{:8.0f}'.format(*report(folder))}")
        size = sum(path.stat().st_size for path in (folder / "out").rglob("*") if path.is_file()) / 2**20
        cache = (folder / "runs" / ".records.npz").stat().st_size / 2**20
        print(f"the report has {size:.1f} MiB, the cache {cache:.0f} MiB")


if __name__ == "__main__":
    main()
