"""What some minutes of a GPU can teach: is it right, how fast is it, and what do the papers' networks reach.

Two commands, each of which may run on a machine of its own, without a network:

    sh benchmarks/gpu/pack.sh IMAGES                 # at home: what has to travel beside the repository, into .gpu
    python3 -m benchmarks.gpu measure                # correctness, speed, several cells side by side
    python3 -m benchmarks.gpu science --seconds 500 --overrides trainer.precision=bf16

What is known lies at once in $OUT (or --out): results.md, log.txt, and archives of at most 16 MiB. Put those into
.gpu/back, and a later call goes on where this one stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.machine import ROOT, mps, send_back, set_up
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.science import SWEEPS, science

SECONDS = 280
"""For everything that is done."""
CORRECTNESS, SPEED, PACKING = 80, 150, 25
"""Of those, for the parts of `measure`; the last twice, without and with MPS. All are longer where there is more."""


def measure(plan: Plan, base: Path, tables: Sequence[str], toy: bool) -> None:
    """Correctness, then speed, then processes side by side without and with MPS; or some tables of speed alone."""
    words: tuple[str, ...] = ("--toy",) if toy else ()
    longer = max(1.0, plan.seconds / SECONDS)
    parts = [("correctness", CORRECTNESS * longer, SPEED / 2), ("speed", SPEED * longer, 2 * PACKING)]
    for name, limit, keep in [("speed", plan.left, 0)] if tables else parts:
        seconds = min(limit, plan.left - keep)
        own = (*tables, "--seconds", f"{seconds - 5:.0f}", *words)
        plan.part(name, sys.executable, "-m", f"benchmarks.gpu.{name}", *own, limit=seconds)
    if not tables:
        side_by_side(plan, toy)
    compiled = [path for path in sorted((base / "compiled").rglob("*")) if path.is_file()]
    send_back(plan, base / "compiled", compiled, "compiled.tgz")


def side_by_side(plan: Plan, toy: bool) -> None:
    """Processes side by side, without and with MPS."""
    words: tuple[str, ...] = ("--device", "cuda", "--precision", "bf16", "--steps", "1000", "--rounds", "1")
    if toy:
        words = ("--size", "8", "--batch-size", "8", "--depth", "8", "--steps", "2", "--rounds", "1")
    packing = (sys.executable, "benchmarks/packing.py", *words, "--processes")
    plan.part("side by side", *packing, "1", *([] if toy else ["4"]), keep=PACKING)
    with mps(plan) as works:
        if works:
            plan.part("side by side under MPS", *packing, "4")


def main(texts: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("measure", "science"))
    parser.add_argument(
        "what",
        nargs="*",
        help="of measure, some tables of speed; of science, sweeps in place of these, each in quotes: "
        + "; ".join(SWEEPS),
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for everything that is done")
    parser.add_argument("--jobs", type=int, default=4, help="cells at a time")
    parser.add_argument("--overrides", default="", help="of every sweep, in quotes")
    parser.add_argument("--kit", type=Path, default=ROOT / ".gpu", help="what travelled")
    parser.add_argument(
        "--base", type=Path, default=Path(tempfile.gettempdir()) / "gpu", help="of this machine"
    )
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu")))
    parser.add_argument("--toy", action="store_true", help="rehearse all of it without a GPU")
    arguments = parser.parse_intermixed_args(texts)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    kit, base, out = (path.absolute() for path in (arguments.kit, arguments.base, arguments.out))
    os.chdir(ROOT)
    if arguments.toy:
        os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling takes longer than all else
    plan = Plan(out, arguments.seconds)
    set_up(plan, kit, base)
    if arguments.mode == "measure":
        measure(plan, base, arguments.what, arguments.toy)
    else:
        sweeps = [f"{sweep} {arguments.overrides}" for sweep in arguments.what or SWEEPS]
        with mps(plan):
            science(plan, kit, base, sweeps, arguments.jobs, arguments.toy)
    plan.say(f"\nAll of it took {plan.now:.0f} s")


if __name__ == "__main__":
    main()
