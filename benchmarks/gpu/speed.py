"""How fast a step is against the device's limits and against other code, the most telling first.

The tables are those of benchmarks/limit.py and benchmarks/against_peers.py, in one process: imports and the search of
kernels are paid once. What is late or fails costs only itself.

    python3 -m benchmarks.gpu.speed --seconds 145
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import against_peers
import limit
import torch

from lightning_module.support.errors import one_line

ONCE = "--rounds 1"
TABLES: dict[str, tuple[int, Callable[[], None], str]] = {
    "bf16": (45, limit.main, f"{ONCE} --precision bf16 --depths 20 56 110"),
    "compiled": (50, limit.main, f"{ONCE} --precision bf16 --compiled --depths 20"),
    "tf32": (15, limit.main, f"{ONCE} --precision tf32 --depths 20"),
    "32": (15, limit.main, f"{ONCE} --precision 32 --depths 20"),
    "peers": (30, against_peers.main, f"{ONCE} --precision bf16 --no-overhead --depths 20"),
    "1202": (40, limit.main, f"{ONCE} --precision bf16 --steps 20 --depths 1202"),
    "peers110": (30, against_peers.main, f"{ONCE} --precision bf16 --no-overhead --steps 20 --depths 110"),
}
"""Name: seconds at most, what prints the table, and its options."""
SMALL = f"{ONCE} --steps 2 --batch-size 8 --depths 8"
TOYS: dict[str, tuple[int, Callable[[], None], str]] = {
    "compiled": (600, limit.main, f"{SMALL} --size 8 --compiled"),
    "peers": (600, against_peers.main, f"{SMALL} --no-overhead"),
}
LEAST = 8
"""Seconds below which no table is begun."""


class Late(Exception):
    """The time of a table is over."""


def late(*_: object) -> None:
    raise Late("its time is over")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)}; all without a name")
    parser.add_argument("--seconds", type=float, default=145, help="for all tables")
    parser.add_argument("--toy", action="store_true", help="a network of 8 layers, for a CPU")
    arguments = parser.parse_args()
    over = time.perf_counter() + arguments.seconds
    signal.signal(signal.SIGALRM, late)
    tables = TOYS if arguments.toy else TABLES
    for seconds, table, options in (tables[name] for name in arguments.tables or tables):
        name, began = f"{table.__module__} {options}", time.perf_counter()
        room = int(min(seconds, over - began))
        if room < LEAST:
            print(f"\n{name}: NO TIME", flush=True)
            continue
        sys.argv = [name, *options.split()]
        signal.alarm(room)
        try:
            table()
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            print(f"\n{name}: ERROR {one_line(error)}", flush=True)
        signal.alarm(0)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(f"\n<!-- {name}: {time.perf_counter() - began:.1f} s -->", flush=True)


if __name__ == "__main__":
    main()
