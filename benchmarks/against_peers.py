"""How fast one optimizer step is in ours and in loops in the style of public code.

The same images, network, batch, precision and device, in one process, in turns: a busy machine slows all alike, so
trust the ratios. On a CPU processor time is shown too, which other programs disturb less; that of data loaders'
workers is not in it. Prints Markdown tables.

    python benchmarks/against_peers.py                        # depths 20, 56, 110, some steps of 1202; the overhead
    python benchmarks/against_peers.py --depths 20 --rounds 9
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import peers  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from peers import Times  # noqa: E402

from ablations.sweep.compose import compose, make_cell  # noqa: E402
from lightning_module import fit, train  # noqa: E402
from lightning_module.cell.config import parse_config  # noqa: E402
from lightning_module.cell.identity import Cell  # noqa: E402
from lightning_module.data.images import DataSet, Images  # noqa: E402
from lightning_module.networks.resnet import build  # noqa: E402
from lightning_module.training import recipe  # noqa: E402
from lightning_module.training.interruption import Interruption  # noqa: E402
from lightning_module.training.step import Step  # noqa: E402

IMAGES = 50_000
DEPTHS = {20: (128, 8, 200), 56: (128, 3, 200), 110: (128, 2, 100), 1202: (8, 1, 20)}
"""Depth: batch size on the CPU (128 on a GPU), steps of a round on the CPU and on a GPU."""


class Clock(Interruption):
    """Looked at between the calls of a run: notes the time after the first and the last, where it asks to stop.

    Not between them, because to read the time is to wait for the device.
    """

    def __init__(self, calls: int, now: Callable[[], Times]) -> None:
        super().__init__()
        self.calls, self.now, self.seen, self.times = calls, now, 0, list[Times]()

    def __bool__(self) -> bool:
        self.seen += 1
        if self.seen in (1, self.calls):
            self.times.append(self.now())
        return self.seen >= self.calls


class Ours:
    """The whole thing, through `train.run`: Lightning's Trainer, record, interruption; as for any cell.

    length: optimizer steps per call, if not those of the cell.
    """

    def __init__(
        self, cell: Cell, data: DataSet, now: Callable[[], Times], length: int | None = None
    ) -> None:
        self.cell, self.now = cell, now
        self.length: int = length or cell.config["trainer"]["steps_per_call"]
        fit.load = lambda _: data

    def __call__(self, steps: int) -> Times:
        length = min(steps, self.length)
        batch = self.cell.config["recipe"]["batch_size"]
        if (1 + steps // length) * length * batch > IMAGES:
            raise SystemExit(f"{steps} steps are more than an epoch of {IMAGES} images, whose end is no step")
        clock = Clock(1 + steps // length, self.now)
        with tempfile.TemporaryDirectory() as runs:
            trainer = {**self.cell.config["trainer"], "steps_per_call": length}
            cell = Cell(
                {**self.cell.config, "runs": runs, "trainer": trainer},
                (),
                "",
                self.cell.parameters,
                self.cell.multiply_adds,
            )
            found = train.run(cell, clock)
        if found.state != "killed":
            raise SystemExit(f"ours: {found.status.get('traceback', found.state)}")
        found_times: Times = (clock.times[1] - clock.times[0]) / (clock.calls - 1) / length
        return found_times


def clock(device: torch.device) -> Callable[[], Times]:
    """Now, on the clock and in processor time, once the device has done what it was told."""

    def now() -> Times:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return np.array([time.perf_counter(), time.process_time()])

    return now


def number_format(precision: str) -> None:
    """What all loops share, as ours sets it for a cell: those projects, too, let cuDNN try its kernels out."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True


def synthetic(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    shape = (IMAGES, 3, size, size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=random)
    return images, torch.randint(10, (IMAGES,), generator=random)


def in_turns(loops: dict[str, Callable[[int], Times]], steps: int, rounds: int) -> dict[str, Times]:
    """Seconds per step of each loop, [rounds, clock and processor]; who begins changes from round to round."""
    times: dict[str, list[Times]] = {name: [] for name in loops}
    threads = torch.get_num_threads()
    for turn in range(rounds):
        names = list(loops)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            torch.set_num_threads(threads)  # ours sets what suits the cell
            times[name].append(loops[name](steps))
        print(".", end="", file=sys.stderr, flush=True)
    return {name: np.array(found) for name, found in times.items()}


def cell_of(device: torch.device, *overrides: str) -> Cell:
    trainer = "gpu" if device.type == "cuda" else "cpu"
    texts = (f"trainer.accelerator={trainer}", "logger=none", "trainer.progress=false", *overrides)
    return make_cell(compose(texts), texts)


def against_peers(depth: int, arguments: argparse.Namespace) -> None:
    device = torch.device(arguments.device)
    gpu = device.type == "cuda"
    batch, few, many = DEPTHS.get(depth, (128, 2, 100))
    batch = arguments.batch_size or (128 if gpu else batch)
    steps = arguments.steps or (many if gpu else few)
    images, labels = synthetic(32)
    cell = cell_of(
        device,
        "data=cifar10",
        "recipe=he2015_cifar",
        f"recipe.batch_size={batch}",
        f"model.depth={depth}",
        f"trainer.precision={arguments.precision}",
        *arguments.trainer,
    )
    config = parse_config(cell.config)
    setting = peers.Setting(
        images,
        labels,
        lambda: build(config.model, 10),
        batch,
        device,
        arguments.precision,
        arguments.workers,
    )
    part = Images(images, labels)
    loops: dict[str, Callable[[int], Times]] = {
        "ours": Ours(cell, DataSet(config.data, part, Images(images[:100], labels[:100])), setting.now),
        "raw PyTorch, in memory": peers.Raw(setting),
        "airbench's style": peers.DeviceResident(setting),
        "akamaster's style": peers.Akamaster(setting),
        "Lightning template's style": peers.LightningTemplate(setting),
    }
    times = in_turns(loops, steps, arguments.rounds)
    what = f"ResNet-{depth}, batch {batch}, precision {arguments.precision}, {device}"
    calls = f"ours in calls of {min(steps, config.trainer.steps_per_call)}"
    print(f"\n{what}; {arguments.rounds} rounds of {steps} steps, {calls}\n")
    print("| loop | ms per step: median | fastest | relative to ours: median | from | to |", end="")
    print("" if gpu else " processor ms per step: median | relative to ours: median |")
    print("|---|---|---|---|---|---|" + "---|---|" * (not gpu))
    for name, seconds in times.items():
        ratios = seconds / times["ours"]
        numbers = [1e3 * np.median(seconds[:, 0]), 1e3 * seconds[:, 0].min()]
        numbers += [np.median(ratios[:, 0]), ratios[:, 0].min(), ratios[:, 0].max()]
        numbers += [] if gpu else [1e3 * np.median(seconds[:, 1]), np.median(ratios[:, 1])]
        print(f"| {name} | " + " | ".join(f"{number:.2f}" for number in numbers) + " |", flush=True)


def overhead(arguments: argparse.Namespace) -> None:
    """A network so small that what surrounds it shows: processor time per step, in one thread."""
    device = torch.device("cpu")
    texts = (
        "model.depth=8",
        "model.width=1",
        "recipe=he2015_cifar",
        "recipe.batch_size=8",
        "trainer.threads=1",
    )
    cell = cell_of(device, *texts)
    config = parse_config(cell.config)
    data = DataSet(config.data, Images(*synthetic(8)), Images(*(part[:100] for part in synthetic(8))))
    torch.set_num_threads(1)

    now = clock(device)

    def raw(steps: int) -> Times:
        network = build(config.model, 10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = recipe.optimizer(config.recipe, network, fused=True)
        stream = data.stream(batch_size=8, seed=0, rank=0, processes=1, device=device)
        started = now()
        for step in range(100 + steps):
            if step == 100:
                started = now()
            images, labels = stream.batch(step)
            loss = F.cross_entropy(network(images.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return (now() - started) / steps

    def empty(steps: int) -> Times:
        whole = Step.__call__
        Step.__call__ = lambda *_: None  # type: ignore[method-assign]
        try:
            return Ours(cell, data, now)(steps)
        finally:
            Step.__call__ = whole  # type: ignore[method-assign]

    loops: dict[str, Callable[[int], Times]] = {
        "raw PyTorch with our data and optimizer": raw,
        "ours, calls of 100 steps": Ours(cell, data, now, 100),
        f"ours, calls of {config.trainer.steps_per_call} steps": Ours(cell, data, now),
        "ours, calls of 1 step": Ours(cell, data, now, 1),
        "ours with an empty step": empty,
    }
    times = in_turns(loops, 500, arguments.rounds)
    print(f"\nResNet-8 of width 1, 8x8 images, batch 8, one thread; {arguments.rounds} rounds of 500 steps\n")
    print("| loop | processor µs per step: median | fastest | above raw: median | fastest less fastest |")
    print("|---|---|---|---|---|")
    base = times["raw PyTorch with our data and optimizer"]
    for name, seconds in times.items():
        above = [np.median(seconds - base, axis=0)[1], seconds[:, 1].min() - base[:, 1].min()]
        numbers = [np.median(seconds[:, 1]), seconds[:, 1].min(), *above]
        print(f"| {name} | " + " | ".join(f"{1e6 * number:.0f}" for number in numbers) + " |", flush=True)


def main(texts: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", type=int, nargs="*", default=list(DEPTHS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of a round, the same for every depth")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--precision", choices=("32", "tf32", "bf16"), default="32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--workers", type=int, default=min(4, len(os.sched_getaffinity(0))), help="of data loaders"
    )
    parser.add_argument("--trainer", nargs="*", default=[], help="overrides for ours: trainer.compile=true")
    parser.add_argument("--no-overhead", action="store_true")
    arguments = parser.parse_args(texts)
    number_format(arguments.precision)
    if not arguments.no_overhead:
        overhead(arguments)
    for depth in arguments.depths:
        against_peers(depth, arguments)


if __name__ == "__main__":
    main()
