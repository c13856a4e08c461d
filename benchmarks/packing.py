"""Several cells at a time on one device: what K processes train per second, against one.

Each process trains a cell of its own, as `hydra.launcher.jobs=K` starts them. On a CPU K x threads are shared out
over the cores; processor time per step says what sharing saves, however busy the machine is. On a GPU the processes
take turns unless NVIDIA's MPS runs (`nvidia-cuda-mps-control -d`).

    python benchmarks/packing.py --size 8 --batch-size 64       # digits
    python benchmarks/packing.py                                # CIFAR shapes
    python benchmarks/packing.py --processes 1 2 4 8            # on a GPU
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

STEPS = 64_000
"""Of a cell of the papers' recipe."""


def work(arguments: argparse.Namespace, threads: int, barrier: Barrier, results: Any) -> None:
    """One process: warm up, wait for the others, train."""
    import against_peers
    import torch

    from lightning_module.cell.config import parse_config
    from lightning_module.data.images import DataSet, Images

    device = torch.device(arguments.device)
    cell = against_peers.cell_of(
        device,
        "data=digits" if arguments.size == 8 else "data=cifar10",
        "recipe=he2015_cifar",
        f"model.depth={arguments.depth}",
        f"recipe.batch_size={arguments.batch_size}",
        f"trainer.precision={arguments.precision}",
        f"trainer.threads={threads}",
    )
    against_peers.IMAGES = max(10_000, (arguments.steps + 200) * arguments.batch_size)  # one epoch
    part = Images(*against_peers.synthetic(arguments.size))
    data = DataSet(parse_config(cell.config).data, part, Images(part.images[:100], part.labels[:100]))  # type: ignore
    ours = against_peers.Ours(cell, data, against_peers.clock(device))
    ours(3)
    barrier.wait()
    results.put(tuple(ours(arguments.steps)))


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="*", default=[1, cores])
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("32", "tf32", "bf16"), default="32")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    plans = [(count, max(1, cores // count)) for count in arguments.processes]
    if arguments.device == "cpu" and cores > 1:
        plans.insert(0, (1, 1))
    found: dict[tuple[int, int], list[tuple[float, float]]] = {plan: [] for plan in plans}
    for _ in range(arguments.rounds):
        for plan in plans:
            count, threads = plan
            barrier, results = context.Barrier(count), context.Queue()
            group = [
                context.Process(target=work, args=(arguments, threads, barrier, results))
                for _ in range(count)
            ]
            for process in group:
                process.start()
            times = [results.get() for _ in group]
            for process in group:
                process.join()
            rate = sum(arguments.batch_size / wall for wall, _ in times)
            found[plan].append((rate, sum(cpu for _, cpu in times) / count))
    what = f"ResNet-{arguments.depth}, {arguments.size}x{arguments.size}, batch {arguments.batch_size}"
    print(f"\n{what}, {arguments.device}; best of {arguments.rounds} rounds of {arguments.steps} steps\n")
    print(
        "| processes x threads | images/s, all together | cells of 64,000 steps per hour | processor ms per step |"
    )
    print("|---|---|---|---|")
    for (count, threads), pairs in found.items():
        rate, cpu = max(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
        hourly = 3600 * rate / arguments.batch_size / STEPS
        print(f"| {count} x {threads} | {rate:.0f} | {hourly:.3g} | {1e3 * cpu:.1f} |")


if __name__ == "__main__":
    main()
