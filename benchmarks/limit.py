"""How far a step is from what the device can do, and what each choice of conf/trainer brings.

Measures the device's ceilings, then the real training of ResNets on images made here, once per variant, in turns.
The floor of a step is the largest of four times, each printed: its multiply-adds at the device's peak, its convolutions
alone at their own shapes, the bytes that a fully fused program moves at the bandwidth of a copy, and that program's
kernels at the cost of a launch (`lightning_module/benchmark/floor.py` says how they are counted). On a GPU all of it is
measured inside CUDA graphs, in the precision of the run. The kernels of our own step, in that precision, are counted at
the end; they are no part of the floor.

    python benchmarks/limit.py --depths 20 56 110 --precision bf16
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import against_peers  # noqa: E402  (first: it sets how threads wait)
import numpy as np  # noqa: E402
import torch  # noqa: E402
from against_peers import Ours, cell_of, in_turns, number_format, synthetic  # noqa: E402

from lightning_module.benchmark.ceilings import LARGEST, Ceilings, ceilings  # noqa: E402
from lightning_module.benchmark.floor import Floor, Work, floor, work  # noqa: E402
from lightning_module.benchmark.measure import kernels_of  # noqa: E402
from lightning_module.cell.config import parse_config  # noqa: E402
from lightning_module.data.images import DataSet, Images  # noqa: E402
from lightning_module.training.step import Step  # noqa: E402

STEPS = 64_000
VARIANTS = {
    "cuda": {
        "as configured": [],
        "no CUDA graph": ["trainer.cuda_graph=false"],
        "contiguous": ["trainer.channels_last=false"],
    },
    "compiled": {"as configured": [], "compiled units": ["trainer.compile=true"]},
    "cpu": {
        "as configured": [],
        "1 thread": ["trainer.threads=1"],
        "2 threads": ["trainer.threads=2"],
        "1 thread, contiguous": ["trainer.threads=1", "trainer.channels_last=false"],
    },
}


def kernels(loop: Ours, device: torch.device) -> int | None:
    """What the second step of this training launches, before there is a graph."""
    whole, counts = Step.__call__, list[int | None]()

    def counted(step: Step, *inputs: torch.Tensor) -> None:
        if len(counts) == 1:
            counts.append(kernels_of(lambda: whole(step, *inputs), device))
        else:
            counts.append(None)
            whole(step, *inputs)

    Step.__call__ = counted  # type: ignore[method-assign]
    try:
        loop(2)
    finally:
        Step.__call__ = whole  # type: ignore[method-assign]
    return counts[1]


def print_floor(limits: Ceilings, least: Floor, of: Work) -> None:
    """The device's ceilings and what each of them makes of this work."""
    copied = min(of.kept, LARGEST) / 2**20
    print(
        f"| ceiling | matrix product | convolutions alone | copy, {copied:.0f} MiB | launch | launch in a graph |"
    )
    print("|---|---|---|---|---|---|")
    graph = f"{1e6 * limits.graph_launch:.2f} µs" if limits.graph_launch else "–"
    print(
        f"| | {limits.matrix / 1e12:.3f} TFLOP/s | {limits.convolutions / 1e12:.3f} TFLOP/s "
        f"| {limits.copy / 1e9:.1f} GB/s | {1e6 * limits.launch:.2f} µs | {graph} |\n"
    )
    print(
        "| floor by | arithmetic at the peak | convolutions alone | memory | launches |\n|---|---|---|---|---|"
    )
    print(
        f"| of the fewest kernels | {of.flops / 1e9:.1f} GFLOP | the same | {of.bytes / 1e6:.0f} MB "
        f"| {of.kernels} kernels |"
    )
    times = (least.arithmetic, least.convolutions, least.memory, least.launches)
    print(
        "| ms per step | "
        + " | ".join("–" if time is None else f"{1e3 * time:.3f}" for time in times)
        + " |\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", type=int, nargs="*", default=[20, 56, 110])
    parser.add_argument("--size", type=int, default=32, help="of the images")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of a round")
    parser.add_argument("--compiled", action="store_true", help="only compiled units against the default")
    parser.add_argument("--precision", choices=("32", "tf32", "bf16"), default="32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device, precision, batch = torch.device(arguments.device), arguments.precision, arguments.batch_size
    gpu = device.type == "cuda"
    variants = "compiled" if arguments.compiled else device.type
    number_format(precision)
    part = Images(*synthetic(arguments.size))
    all_loops: dict[tuple[int, str], Ours] = {}
    for depth in arguments.depths:
        base = ("data=cifar10", "recipe=he2015_cifar", f"model.depth={depth}", f"recipe.batch_size={batch}")
        base += (f"trainer.precision={precision}",)
        if arguments.size == 8:
            base = ("data=digits", *base[1:])
        loops: dict[str, Ours] = {}
        for name, overrides in VARIANTS[variants].items():
            cell = cell_of(device, *base, *overrides)
            config = parse_config(cell.config)
            data = DataSet(config.data, part, Images(part.images[:100], part.labels[:100]))  # type: ignore[arg-type]
            all_loops[depth, name] = loops[name] = Ours(cell, data, against_peers.clock(device))
        of = work(config.model, 10, arguments.size, batch, precision)
        limits = ceilings(device, precision, of.convolutions, batch, of.kept)
        least = floor(limits, of)
        where = torch.cuda.get_device_name() if gpu else "CPU"
        what = f"ResNet-{depth}, batch {batch}, {arguments.size}x{arguments.size}, precision {precision}, {where}"
        print(f"\n{what}\n")
        print_floor(limits, least, of)
        few, many = against_peers.DEPTHS.get(depth, (batch, 4, 200))[1:]
        steps = arguments.steps or (many if gpu else few)
        times = in_turns(dict(loops), steps, arguments.rounds)
        calls = min(steps, config.trainer.steps_per_call)
        print(f"{arguments.rounds} rounds of {steps} steps, in calls of {calls}\n")
        print("| variant | ms per step: median | fastest | times the floor | 64,000 steps | processor ms |")
        print("|---|---|---|---|---|---|")
        for name, seconds in times.items():
            median = float(np.median(seconds[:, 0]))
            print(
                f"| {name} | {1e3 * median:.3f} | {1e3 * seconds[:, 0].min():.3f} | {median / least.seconds:.2f} "
                f"| {STEPS * median / 60:.1f} min | {1e3 * np.median(seconds[:, 1]):.3f} |",
                flush=True,
            )
    # After all timing, because what traces kernels may stay and slow them. A graph has those of the step without it.
    print("\n| kernels of our step | variant | number |\n|---|---|---|")
    for (depth, name), loop in all_loops.items():
        if "trainer.cuda_graph=false" not in VARIANTS[variants][name]:
            number = kernels(loop, device) if gpu else "–"
            print(f"| ResNet-{depth} | {name} | {number} |", flush=True)


if __name__ == "__main__":
    main()
