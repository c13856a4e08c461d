"""`mode=benchmark`: how fast a cell trains, measured on the very step that trains it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_module.benchmark import energy
from lightning_module.benchmark.ceilings import ceilings, wait_for
from lightning_module.benchmark.floor import floor, work
from lightning_module.networks.cost import cost
from lightning_module.training.classifier import Classifier
from lightning_module.training.device_memory import peak_memory
from lightning_module.training.step import counted_together

WINDOW = {"cpu": 5, "cuda": 50}
"""Steps that are timed together, by device; at the end of a window the host waits for the device."""
STEADY = 0.05
"""The speed is steady when the medians of three windows in a row differ by less than this part."""
WARM_SECONDS = 20.0
"""Longest warm-up, in seconds; it ends earlier when the speed is steady."""
SECONDS, LEAST_STEPS = 10.0, 20
"""The measurement lasts for this many seconds and steps; for three times the seconds if the steps take longer."""
PARTS = 10
"""Steps whose parts are timed one by one."""


class Benchmark(Classifier):
    """Trains only to measure the speed. `metrics` and `about` hold the results, on every process."""

    goes_on = False  # what is saved while it measures would be measured too
    epoch_is_over = False
    metrics: dict[str, float]
    about: dict[str, Any]

    def calls(self) -> Iterator[tuple[int, int]]:
        """A single call, which warms up and measures."""
        yield 0, 1

    def val_dataloader(self) -> list[list[str]]:
        """No loaders: a benchmark tests nothing."""
        return []

    def on_train_epoch_end(self) -> None:
        """Stop after the one call."""
        self.trainer.should_stop = True

    def training_step(self, call: tuple[int, int], _: int) -> None:
        """Warm up, measure whole steps, then take some apart."""
        self.place, started = 0, time.perf_counter()
        with counted_together(self.norms, 1):
            warm, steady = self._warm_up()
            before = energy.joules(self.device)
            times = self._measure()
            after = energy.joules(self.device)
            parts = self._parts()
            kernels = kernels_of(lambda: self.one_step(*self.inputs(self.place)), self.device)
        if self.interrupted:
            return
        batch, median = self.config.recipe.batch_size, float(times.median())
        whole = float(times.sum())
        share, precision = batch // self.trainer.world_size, self.config.trainer.precision  # of one device
        data = self.config.data
        network = self.config.model, self.data.classes, data.image_size[0]
        memory = peak_memory(self.device)  # before the ceilings, which need more
        least = work(*network, share, precision, data.channels)
        limits = ceilings(self.device, precision, least.convolutions, share, least.kept)
        flops = 6 * cost(*network, in_channels=data.channels).multiply_adds * share / median
        self.metrics = {
            "images_per_second": batch * len(times) / whole,
            "step_ms": 1e3 * median,
            "step_ms_p95": 1e3 * float(times.quantile(0.95)),
            **{f"{name}_ms": 1e3 * value for name, value in parts.items()},
            "peak_memory": memory,
            "flops_per_second": flops,
            "share_of_peak": flops / limits.peak,
            "seconds": time.perf_counter() - started,
        }
        if before is not None and after is not None:
            self.metrics["joules_per_image"] = (after - before) * self.trainer.world_size / batch / len(times)
        self.about = {
            "steady": steady,
            "warm_up_steps": warm,
            "steps": len(times),
            "kernels": kernels,
            "fewest_kernels": least.kernels,
            "graph": bool(getattr(self._make_step, "replay", None)),
            "ceilings": asdict(limits),
            "floor_seconds": asdict(floor(limits, least)),
        }
        self.step = self.place

    def _warm_up(self) -> tuple[int, bool]:
        """Steps made, and whether the last windows agree."""
        medians: list[float] = []
        started = time.perf_counter()
        while True:
            medians.append(float(self._window_of_steps().median()))
            last = medians[-3:]
            steady = len(last) == 3 and max(last) - min(last) < STEADY * min(last)
            over = steady or (len(last) == 3 and time.perf_counter() - started > WARM_SECONDS)
            if self._agreed(over):
                return self.place, steady

    def _measure(self) -> Tensor:
        """Seconds of every measured step."""
        times: list[Tensor] = []
        started = time.perf_counter()
        while True:
            times.append(self._window_of_steps())
            took = time.perf_counter() - started
            over = took > SECONDS and (sum(map(len, times)) >= LEAST_STEPS or took > 3 * SECONDS)
            if self._agreed(over):
                return torch.cat(times)

    def _agreed(self, over: bool) -> bool:
        """Whether this part is over: rank 0 decides for all, and every rank leaves when it is asked to stop."""
        self.on_call()
        if self.trainer.world_size > 1:
            flag = torch.tensor(int(over), device=self.device)
            dist.broadcast(flag, 0)
            over = bool(flag)
        return over or self.interrupted

    def _window_of_steps(self) -> Tensor:
        """Seconds of each of some steps, as in training: nothing waits for the device between them."""
        gpu, window = self.device.type == "cuda", WINDOW[self.device.type]
        marks = [_mark(gpu)]
        for _ in range(window):
            self.prepare(self.place)
            self._make_step(*self.inputs(self.place))
            self.place += 1
            marks.append(_mark(gpu))
        wait_for(self.device)
        return torch.tensor([marks[i](marks[i + 1]) for i in range(window)], dtype=torch.float64)

    def _parts(self) -> dict[str, float]:
        """Median seconds of the parts of a step made one by one, with a wait for the device after each.

        Communication is what the exchange of gradients adds to the backward pass; that of synchronised batch
        normalisation stays in the passes.
        """
        step, laps, local = self.one_step, list[list[float]](), list[float]()
        for _ in range(PARTS if not self.interrupted else 0):
            self.prepare(self.place)
            clock = _Clock(self.device)
            images, labels = step.data(*self.inputs(self.place))
            clock.lap()
            _, loss = step.forward(images, labels)
            clock.lap()
            step.gradients(loss)
            clock.lap()
            step.optimizer.step()
            clock.lap()
            laps.append(clock.laps)
            if self.trainer.world_size > 1:
                _, loss = step.forward(images, labels)
                step.optimizer.zero_grad()
                clock = _Clock(self.device)
                loss.backward()  # type: ignore[no-untyped-call]
                clock.lap()
                local.append(clock.laps[0])
            self.place += 1
        if not laps:
            return {}
        medians = torch.tensor(laps, dtype=torch.float64).median(0).values.tolist()
        parts = dict(zip(("data", "forward", "backward", "optimizer"), medians, strict=True))
        parts["communication"] = 0.0
        if local:
            alone = min(parts["backward"], float(torch.tensor(local).median()))
            parts["communication"], parts["backward"] = parts["backward"] - alone, alone
        return parts


def kernels_of(step: Callable[[], object], device: torch.device) -> int | None:
    """Kernels, copies and fills that one call of an ordinary step launches; None on the CPU, which has none."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        step()
        wait_for(device)
    return sum(str(event.device_type) == "DeviceType.CUDA" for event in seen.events() or ())


class _Clock:
    def __init__(self, device: torch.device) -> None:
        wait_for(device)
        self.device, self.laps, self.last = device, list[float](), time.perf_counter()

    def lap(self) -> None:
        wait_for(self.device)
        now = time.perf_counter()
        self.laps.append(now - self.last)
        self.last = now


def _mark(gpu: bool) -> Callable[[Any], float]:
    """A moment; called with a later one it gives the seconds between them, once the device has done its work."""
    return _GpuMark() if gpu else _Mark()


class _Mark:
    def __init__(self) -> None:
        self.moment = time.perf_counter()

    def __call__(self, later: _Mark) -> float:
        return later.moment - self.moment


class _GpuMark:
    def __init__(self) -> None:
        self.event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self.event.record()

    def __call__(self, later: _GpuMark) -> float:
        return float(self.event.elapsed_time(later.event)) / 1e3
