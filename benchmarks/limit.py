"""How far a step is from what the device can do, and what each choice of conf/trainer brings.

Measures the device's ceilings, then the real training of ResNets on images made here, once per variant, in turns.
The floor of a step is the largest of: its arithmetic at the peak, the bytes that must be kept for the backward pass
at the copy bandwidth, its kernel launches inside a CUDA graph (counted without compilation).

    python benchmarks/limit.py --depths 20 56 110 --precision bf16
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import against_peers  # noqa: E402  (first: it sets how threads wait)
import numpy as np  # noqa: E402
import torch  # noqa: E402
from against_peers import Ours, Times, cell_of, in_turns, synthetic  # noqa: E402

from lightning_module.benchmark.ceilings import ceilings, floor  # noqa: E402
from lightning_module.cell.config import parse_config  # noqa: E402
from lightning_module.data.images import DataSet, Images  # noqa: E402
from lightning_module.networks.cost import cost  # noqa: E402

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


def kernels(depth: int, device: torch.device) -> int | None:
    """Launches in an ordinary step of this network, with the optimizer; None on the CPU."""
    if device.type != "cuda":
        return None
    import torch.nn.functional as F
    from torch.profiler import ProfilerActivity, profile

    from lightning_module.networks.config import NetworkConfig
    from lightning_module.networks.resnet import build

    network = build(NetworkConfig(depth=depth), 10).to(device, memory_format=torch.channels_last)  # type: ignore
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.randn(128, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(128, dtype=torch.int64, device=device)
    for measured in (False, True):
        with profile(activities=[ProfilerActivity.CUDA] if measured else []) as seen:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
            torch.cuda.synchronize()
    return sum(str(event.device_type) == "DeviceType.CUDA" for event in seen.events() or ())


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
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    limits = ceilings(device, precision, batch)
    print(f"\nCeilings of {torch.cuda.get_device_name() if gpu else 'the CPU'}, precision {precision}\n")
    print("| matrix product | convolution | copy | launch | launch in a graph |\n|---|---|---|---|---|")
    graph = f"{1e6 * limits.graph_launch:.2f} µs" if limits.graph_launch else "–"
    print(
        f"| {limits.matrix / 1e12:.3f} TFLOP/s | {limits.convolution / 1e12:.3f} TFLOP/s "
        f"| {limits.copy / 1e9:.1f} GB/s | {1e6 * limits.launch:.2f} µs | {graph} |"
    )
    part = Images(*synthetic(arguments.size))
    for depth in arguments.depths:
        base = ("data=cifar10", "recipe=he2015_cifar", f"model.depth={depth}", f"recipe.batch_size={batch}")
        base += (f"trainer.precision={precision}",)
        if arguments.size == 8:
            base = ("data=digits", *base[1:])
        loops: dict[str, Callable[[int], Times]] = {}
        for name, overrides in VARIANTS["compiled" if arguments.compiled else device.type].items():
            cell = cell_of(device, *base, *overrides)
            config = parse_config(cell.config)
            data = DataSet(config.data, part, Images(part.images[:100], part.labels[:100]))  # type: ignore[arg-type]
            loops[name] = Ours(cell, data, against_peers.clock(device))
        few, many = against_peers.DEPTHS.get(depth, (batch, 4, 200))[1:]
        times = in_turns(loops, arguments.steps or (many if gpu else few), arguments.rounds)
        price = cost(config.model, 10, arguments.size, batch)
        launches = kernels(depth, device)
        least = floor(limits, price.multiply_adds * batch, price.activation_bytes, launches, precision)
        print(
            f"\nResNet-{depth}, batch {batch}, {arguments.size}x{arguments.size}, precision {precision}, {device}\n"
        )
        print("| floor by | arithmetic | convolutions | bytes | launches |\n|---|---|---|---|---|")
        parts = [least.arithmetic, least.convolution, least.copy, least.launches]
        print("| ms per step | " + " | ".join("–" if p is None else f"{1e3 * p:.3f}" for p in parts) + " |\n")
        print("| variant | ms per step: median | fastest | times the floor | 64,000 steps | processor ms |")
        print("|---|---|---|---|---|---|")
        for name, seconds in times.items():
            median = float(np.median(seconds[:, 0]))
            print(
                f"| {name} | {1e3 * median:.3f} | {1e3 * seconds[:, 0].min():.3f} | {median / least.seconds:.2f} "
                f"| {STEPS * median / 60:.1f} min | {1e3 * np.median(seconds[:, 1]):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
