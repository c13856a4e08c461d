"""Whether the GPU path does what the plain one does: a line for each check, as it ends.

Networks are trained through `train.run`, as any cell, on random images. Nothing is judged here: the lines say what
was found, and a check that fails says its error.

    python3 -m benchmarks.gpu.correctness --seconds 75
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.gpu.lab import GPU, Lab, Ran, Until, facts, gap, losses
from lightning_module.benchmark import measure
from lightning_module.support.errors import one_line

DROPOUT = ("model.shortcut_type=dropout", "model.dropout=0.5", "model.stochastic_depth=0.5")
EAGER, GRAPH = "trainer.cuda_graph=false", "trainer.cuda_graph=true"


def against_eager(lab: Lab, *overrides: str) -> str:
    graph, eager = lab.train(*lab.short, *overrides, GRAPH), lab.train(*lab.short, *overrides, EAGER)
    return f"{graph} / {eager}: {gap(graph, eager)}; losses {losses(graph)} {losses(eager)}"


def resume(lab: Lab, *overrides: str) -> str:
    """Stopped within the second epoch, and gone on with."""
    steps = 2 * lab.epoch + lab.epoch // 2
    long = (f"recipe.steps={steps}", f"recipe.drops=[{lab.epoch},{steps - 5}]", *overrides)
    whole = lab.train(*long)
    first = lab.train(*long, interruption=Until(1.3 * lab.epoch // 10), runs=lab.folder / "resumed")
    second = lab.train(*long, runs=lab.folder / "resumed")
    stopped = first.state["step"] if first.state else None
    return (
        f"{whole}; {first} at step {stopped} of {steps}, then {second}: {gap(whole, second)}, "
        f"the same losses: {losses(whole) == losses(second)}"
    )


@contextmanager
def unrecordable() -> Iterator[list[bool]]:
    """Within, the loss is read back while a graph is recorded, which no graph can hold; one item for each time."""
    cross_entropy, tried = F.cross_entropy, list[bool]()

    def read_back(*values: Any, **options: Any) -> torch.Tensor:
        loss = cross_entropy(*values, **options)
        if GPU and torch.cuda.is_current_stream_capturing():
            tried.append(True)
            loss.item()
        return loss

    F.cross_entropy = read_back
    try:
        yield tried
    finally:
        F.cross_entropy = cross_entropy


def failed_capture(lab: Lab, *overrides: str) -> str:
    with unrecordable() as tried:
        failed = lab.train(*lab.short, *overrides, GRAPH)
    default = not GPU or torch.cuda.current_stream() == torch.cuda.default_stream()
    eager, good = lab.train(*lab.short, *overrides, EAGER), lab.train(*lab.short, *overrides, GRAPH)
    return (
        f"{failed}; failures made {len(tried)}; the default stream is current: {default}; eager after it {eager}, "
        f"{gap(failed, eager)}; a good graph after it {good}, {gap(good, eager)}"
    )


def divergence(lab: Lab) -> str:
    ran = lab.train("recipe.steps=100", "recipe.drops=[]", "recipe.learning_rate=1e30")
    return f"{ran}, step {ran.record.last.get('step')}"


def speed(lab: Lab, precision: str) -> str:
    more = (
        f"recipe.steps={(3 if lab.toy else 8) * lab.epoch}",
        "recipe.drops=[]",
        f"trainer.precision={precision}",
    )
    usual, waiting = lab.train(*more), lab.train(*more, interruption=Until(float("inf")))

    def median(ran: Ran, rate: Callable[[Any], float]) -> float:
        return sorted(map(rate, ran.record.epochs[1:]))[len(ran.record.epochs) // 2 - 1]

    def recorded(epoch: Any) -> float:
        return float(epoch["images_per_second"])

    return (
        f"recorded {median(usual, recorded):,.0f}; where the host waits after each call "
        f"{median(waiting, recorded):,.0f}; by the seconds of whole epochs, test included, "
        f"{median(usual, lambda epoch: len(lab.images) / epoch['seconds']):,.0f}"
    )


def memory(lab: Lab, precision: str) -> str:
    more = (*lab.short, f"trainer.precision={precision}")
    ran = [lab.train(*more, "seed=5")]
    ran += [lab.train(*more, "seed=5", f"model.depth={depth}") for depth in lab.depths]
    ran.append(lab.train(*more, "seed=6"))
    peaks = " ".join(f"{one.record.last['peak_memory'] / 1e6:.0f}" for one in ran)
    return f"peaks {peaks} MB (the last is the first cell again); allocated before each {[one.before for one in ran]}"


def synchronisations(lab: Lab) -> str:
    """By the difference of two lengths, so that what a run does once does not count."""
    counts, lengths = [], (lab.epoch // 3, 2 * lab.epoch // 3)
    for steps in lengths:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            if GPU:
                torch.cuda.set_sync_debug_mode("warn")
            try:
                lab.train(f"recipe.steps={steps}", "recipe.drops=[]")
            finally:
                if GPU:
                    torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(warning.message) for warning in seen))
    each = (counts[1] - counts[0]) / (lengths[1] - lengths[0])
    return f"{each:.2f} a step; {counts[0]} in a run of {lengths[0]} steps"


def kernels(lab: Lab, *overrides: str) -> str:
    """Launches and microseconds of a step by name, by the difference of two lengths."""
    from torch.profiler import ProfilerActivity, profile

    found: list[tuple[Counter[str], Counter[str]]] = []
    lengths = (2, 4) if lab.toy else (20, 40)
    lab.train(*lab.short, *overrides)  # cuDNN looks for its fastest kernels once a process
    for steps in lengths:
        count, time_ = Counter[str](), Counter[str]()
        with profile(activities=[ProfilerActivity.CUDA if GPU else ProfilerActivity.CPU]) as seen:
            lab.train(f"recipe.steps={steps}", "recipe.drops=[]", *overrides)
            if GPU:
                torch.cuda.synchronize()
        for event in seen.events() or ():
            if not GPU or "CUDA" in str(event.device_type):
                count[event.name[:80]] += 1
                time_[event.name[:80]] += event.time_range.elapsed_us()
        found.append((count, time_))
    steps = lengths[1] - lengths[0]
    count, time_ = ({name: (b[name] - a[name]) / steps for name in b} for a, b in zip(*found, strict=True))
    for name in sorted(time_, key=lambda name: -time_[name])[: 5 if lab.toy else 16]:
        print(f"    {time_[name]:8.1f} µs  x{count[name]:6.1f}  {name}")
    return f"{sum(count.values()):.0f} launches and {sum(time_.values()):.0f} µs a step"


def compiled(lab: Lab, precision: str) -> str:
    """Twice in one process: the second cell has to be compiled as well."""
    more = (*lab.short, f"trainer.precision={precision}")
    eager, said = lab.train(*more, EAGER), []
    for _ in range(2):
        began = time.perf_counter()
        ran = lab.train(*more, "trainer.compile=true")
        said.append(
            f"{ran}, {time.perf_counter() - began:.1f} s, against eager {gap(ran, eager)}, losses {losses(ran)}"
        )
    return f"{'; '.join(said)}; losses of eager {losses(eager)}"


def benchmark(lab: Lab, precision: str) -> str:
    measure.SECONDS, measure.WARM_SECONDS = (0.1, 0.1) if lab.toy else (1.0, 3.0)
    endless = ("recipe.steps=1000000", "recipe.drops=[]")
    ran = lab.train("mode=benchmark", f"trainer.precision={precision}", *endless)
    numbers = " ".join(
        f"{key} {value:.4g}" for key, value in ran.record.last.items() if key not in ("event", "epoch")
    )
    return f"{ran} {numbers}{facts(ran.record, 'benchmark')}"


def checks(lab: Lab) -> Iterator[tuple[str, Callable[[], str]]]:
    """What is checked under which name, the most important first."""
    for precision in lab.precisions:
        chosen = f"trainer.precision={precision}"
        yield f"graph against eager, {precision}", partial(against_eager, lab, chosen)
        yield f"the same with dropout, {precision}", partial(against_eager, lab, chosen, *DROPOUT)
    fast = lab.precisions[0]
    chosen = f"trainer.precision={fast}"
    yield "resume, with dropout", partial(resume, lab, chosen, *DROPOUT)
    yield "a step that cannot be recorded", partial(failed_capture, lab)
    yield "a step with dropout that cannot be recorded", partial(failed_capture, lab, *DROPOUT)
    yield "divergence", partial(divergence, lab)
    yield "images/s", partial(speed, lab, fast)
    yield "memory", partial(memory, lab, fast)
    yield "synchronisations", partial(synchronisations, lab)
    yield f"mode=benchmark, {fast}", partial(benchmark, lab, fast)
    for precision in lab.precisions[:2]:
        yield f"kernels of a step, {precision}", partial(kernels, lab, f"trainer.precision={precision}")
    yield f"compiled units, {fast}", partial(compiled, lab, fast)


FAST_KERNELS = ("images/s", "kernels", "mode=benchmark")
"""How the checks begin that take whatever kernels are fastest."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=75, help="after which no check is begun")
    parser.add_argument(
        "--toy", action="store_true", help="a network of 8 layers on images of 8x8, for a CPU"
    )
    arguments = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(arguments.toy, Path(folder))
        for name, check in checks(lab):
            started = time.perf_counter()
            if started - began > arguments.seconds:
                print(f"- {name}: NO TIME", flush=True)
                continue
            lab.exact = not name.startswith(FAST_KERNELS)
            try:
                said = check()
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                said = f"ERROR {one_line(error)}"
            gc.collect()
            print(f"- {name}: {said} ({time.perf_counter() - started:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
