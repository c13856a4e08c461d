"""What the harness costs around training: a cell that is finished, and a new one beyond its steps.

    python benchmarks/sweep_overhead.py            # limits: 20 ms to skip, 1 s for a new cell
    python benchmarks/plan_speed.py                # limit: 5 s to plan 10,000 cells

In one process, as in a sweep, so that imports are paid once. A new cell of one step is built, trained for that step,
tested and recorded; the time of the step itself is small and left in.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parents[1]))

from ablations.sweep.here import run_sweep
from ablations.sweep.plan import sweep
from ablations.sweep.request import request


def timed(cells: int, runs: str, logger: str) -> tuple[float, float]:
    """Seconds per cell of a sweep, of the clock and of this process."""
    texts = [f"seed=range({cells})", "model.depth=8", "recipe.steps=1", "recipe.drops=[]", "trainer=cpu"]
    texts += [f"logger={logger}", f"runs={runs}", "trainer.progress=false"]
    wall, cpu = time.perf_counter(), time.process_time()
    with redirect_stdout(StringIO()):
        run_sweep(sweep(request(texts), ["benchmark"]))
    return (time.perf_counter() - wall) / cells, (time.process_time() - cpu) / cells


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print("| | ms per cell: median | fastest | processor ms: median | fastest |\n|---|---|---|---|---|")
    for logger in ("none", "wandb_offline"):
        found: dict[str, list[tuple[float, float]]] = {"new": [], "finished": []}
        with tempfile.TemporaryDirectory() as imports:
            timed(1, imports, logger)
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as runs:
                for kind in found:
                    found[kind].append(timed(arguments.cells, runs, logger))
        for kind, pairs in found.items():
            wall, cpu = ([1e3 * value for value in values] for values in zip(*pairs, strict=True))
            numbers = (statistics.median(wall), min(wall), statistics.median(cpu), min(cpu))
            print(
                f"| {kind}, logger={logger} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
