"""How long `python -m ablations plan` takes for 10,000 cells: at most 5 seconds, and 10 more where all records are new.

    python benchmarks/plan_speed.py [CELLS]

Wall and CPU time of the whole command, imports included, in a process of its own; on a busy machine CPU time is
what counts. The caches of costs and of composed groups are warm, as they are after the first plan of a network.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPTHS = ",".join(str(6 * n + 2) for n in range(1, 11))


def grids(cells: int) -> dict[str, list[str]]:
    """What is asked for, each with about as many cells."""
    each = cells // 10
    rates = ",".join(f"{0.001 * (i + 1):g}" for i in range(each))
    return {
        "10 depths x seeds": [f"model.depth={DEPTHS}", f"seed=range({each})"],
        "10 depths x learning rates": [f"model.depth={DEPTHS}", f"recipe.learning_rate={rates}"],
        "study with every seed": ["ablation=downsampling", f"seed=range({cells // 16})"],
    }


def finish(runs: Path, planned: str) -> int:
    """A finished record of 200 epochs for every cell of a plan."""
    epochs = [
        {"event": "epoch", "epoch": n, "step": 391 * n, "test/error": 9.0, "seconds": 7.0}
        for n in range(1, 201)
    ]
    attempt = {"event": "attempt", "attempt": 1, "step": 0, "hardware": "1 x Example GPU", "devices": 1}
    status = {"event": "status", "status": "finished", "step": 78200}
    tail = "".join(json.dumps(line) + "\n" for line in [attempt, *epochs, status])
    cells = json.loads(planned)["cells"]
    for cell in cells:
        folder = runs / cell["identity"]
        folder.mkdir(parents=True)
        (folder / "record.jsonl").write_text(json.dumps({"event": "cell", "schema": 1, **cell}) + "\n" + tail)
    return len(cells)


def timed(*arguments: str) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds and output of one command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "ablations", "plan", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, cpu, done.stdout


def main() -> None:
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{'plan':34} {'records':>8} {'cells':>7} {'wall s':>7} {'CPU s':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for name, overrides in grids(cells).items():
            runs = Path(folder) / name.replace(" ", "_")
            asked = [*overrides, "--runs", str(runs)]
            planned = timed(*asked, "--json")[2]
            wall, cpu, _ = timed(*asked)
            count = len(json.loads(planned)["cells"])
            print(f"{name:34} {'none':>8} {count:7,} {wall:7.1f} {cpu:6.1f}", flush=True)
        finish(runs, planned)
        for records in ("all new", "all"):  # the first plan reads them, later ones know their results
            wall, cpu, _ = timed(*asked)
            print(f"{name:34} {records:>8} {count:7,} {wall:7.1f} {cpu:6.1f}", flush=True)


if __name__ == "__main__":
    main()
