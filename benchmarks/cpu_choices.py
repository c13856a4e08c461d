"""Memory layout, fused optimizer and threads on a CPU: processor time of forward, backward and update, in turns.

python benchmarks/cpu_choices.py
python benchmarks/cpu_choices.py --size 8 --batch-size 64 --steps 10 --rounds 7
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.nn.functional as F

from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build


def loop(arguments: argparse.Namespace, last: bool, fused: bool, threads: int) -> Callable[[], float]:
    """Trains some steps on one batch and returns processor seconds per step."""
    layout = torch.channels_last if last else torch.contiguous_format
    network = build(NetworkConfig(depth=arguments.depth), 10).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=fused)
    images = torch.randn(arguments.batch_size, 3, arguments.size, arguments.size).contiguous(
        memory_format=layout
    )
    labels = torch.randint(10, (arguments.batch_size,))

    def run() -> float:
        torch.set_num_threads(threads)
        started = time.process_time()
        for _ in range(arguments.steps):
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return (time.process_time() - started) / arguments.steps

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    choices = list(itertools.product((1, 2), (False, True), (False, True)))
    loops = [loop(arguments, last, fused, threads) for threads, last, fused in choices]
    for run in loops:
        run()
    rounds = [[run() for run in loops] for _ in range(arguments.rounds)]
    print("| threads | layout | SGD | processor ms per step: median | fastest |\n|---|---|---|---|---|")
    for (threads, last, fused), times in zip(choices, zip(*rounds, strict=True), strict=True):
        words = f"| {threads} | {'channels last' if last else 'contiguous'} | {'fused' if fused else 'by default'} "
        print(f"{words}| {1e3 * statistics.median(times):.1f} | {1e3 * min(times):.1f} |")


if __name__ == "__main__":
    main()
