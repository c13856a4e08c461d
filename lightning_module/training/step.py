"""One optimizer step on the device, and the same as one CUDA graph."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_module.support.errors import log
from lightning_module.training.bf16_weights import Bf16Weights

WARM = 3
"""Steps without a graph before the first with it: libraries choose their kernels and allocate in them."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The arithmetic of a precision. Weights are converted anew each time: they change between two steps."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


@dataclass(frozen=True)
class Step:
    """batch(*inputs) -> images, labels; then forward, backward, update, and the sums of the epoch so far.

    Everything is done on the device and in memory that stays: nothing is read back. sums: float64 [2], the loss
    times the images and the wrong guesses; window: int64 [], the wrong guesses once more; weights: the network's in
    bf16, without which autocast converts them one by one.
    """

    batch: Callable[..., tuple[Tensor, Tensor]]
    network: nn.Module
    optimizer: torch.optim.Optimizer
    backward: Callable[[Tensor, Tensor], None]
    precision: str
    layout: torch.memory_format
    sums: Tensor
    window: Tensor
    weights: Bf16Weights | None = None

    def __call__(self, *inputs: Tensor) -> None:
        """Make one optimizer step and add its loss and wrong guesses to the sums."""
        images, labels = self.data(*inputs)
        logits, loss = self.forward(images, labels)
        self.gradients(loss)
        self.optimizer.step()
        with torch.no_grad():
            wrong = (logits.argmax(1) != labels).sum()
            self.sums[0].add_(loss, alpha=len(labels))
            self.sums[1].add_(wrong)
            self.window.add_(wrong)

    def data(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Images as the network wants them, and labels."""
        images, labels = self.batch(*inputs)
        return images.contiguous(memory_format=self.layout), labels

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the mean loss."""
        with autocast(images.device, self.precision):
            logits: Tensor = (self.weights or self.network)(images)
            return logits, F.cross_entropy(logits, labels)

    @cached_property
    def _one(self) -> Tensor:
        """The gradient of the loss for itself, which each backward pass would make anew."""
        return torch.ones((), device=self.sums.device)

    def gradients(self, loss: Tensor) -> None:
        """Those of the loss, in the parameters."""
        self.optimizer.zero_grad()
        self.backward(loss, self._one)
        if self.weights is not None:
            self.weights.bring_back()


def capture(
    step: Callable[..., None], inputs: tuple[Tensor, ...], stream: torch.cuda.Stream
) -> Callable[[], None]:
    """The device's work for step(*inputs), recorded and not done; calling the result does it.

    RuntimeError when something in it cannot be recorded: the first error, after which streams, random numbers and
    memory are as they were.
    """
    device = stream.device.index
    random, pool = torch.cuda.default_generators[device], torch.cuda.graph_pool_handle()
    spare, graph = random.clone_state(), torch.cuda.CUDAGraph()
    gc.collect()  # graphs of dead cells must not be freed while this one is recorded
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    try:
        with torch.cuda.stream(stream):
            # Other threads (data loaders, loggers) may use the device meanwhile.
            graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                step(*inputs)
            except BaseException:
                with suppress(RuntimeError):  # says no more than that something failed before
                    graph.capture_end()
                raise
            graph.capture_end()
    except BaseException:
        # PyTorch 2.11's generator takes itself to be recorded for ever after a recording that failed.
        random.graphsafe_set_state(spare)
        with suppress(RuntimeError):  # the memory was given back already
            torch._C._cuda_endAllocateToPool(device, pool)
            torch._C._cuda_releasePool(device, pool)
        raise
    return graph.replay


class Graphed:
    """A step as one CUDA graph: the host launches one thing instead of hundreds.

    The first steps are made without it, on the stream of the recording; they are steps like any other, so nothing
    has to be undone. If recording fails the step goes on as it is, after one warning, and `failed` says why.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self.step, self.made = step, 0
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.inputs: tuple[Tensor, ...] = ()
        self.replay: Callable[[], None] | None = None
        self.failed = ""

    @property
    def replaying(self) -> bool:
        """Whether steps are made by the graph: not yet in the first ones, and never if recording failed."""
        return self.replay is not None

    def __call__(self, *inputs: Tensor) -> None:
        """Make one optimizer step, by the graph once it is recorded."""
        self.made += 1
        if self.made <= WARM:
            self._aside(*inputs)
            return
        if not self.replaying and not self.failed:
            self._record(inputs)
        if self.replay is None:
            self.step(*inputs)
            return
        for kept, new in zip(self.inputs, inputs, strict=True):
            kept.copy_(new)
        self.replay()

    def _aside(self, *inputs: Tensor) -> None:
        if self.stream is None:
            self.step(*inputs)
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        with torch.cuda.stream(self.stream):
            self.step(*inputs)
        torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = tuple(value.clone() for value in inputs)
        self.step.optimizer.zero_grad()  # the recorded gradients have memory of their own
        try:
            self.replay = capture(self.step, self.inputs, cast(torch.cuda.Stream, self.stream))
        except RuntimeError as error:
            self.failed = str(error).strip().partition("\n")[0] or type(error).__name__
            self.inputs = ()
            self.step.optimizer.zero_grad()
            log.warning(
                "training goes on without a CUDA graph, which cannot be recorded here (%s)", self.failed
            )


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Its batch normalisations of PyTorch's own kind."""
    return [module for module in network.modules() if type(module) is nn.BatchNorm2d]


@contextmanager
def counted_together(norms: Sequence[nn.BatchNorm2d], steps: int) -> Iterator[None]:
    """Batches seen by these are counted once for several steps: each count is work for the device."""
    counters = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, counter in zip(norms, counters, strict=True):
            norm.num_batches_tracked = counter
        present = [counter for counter in counters if counter is not None]
        if present:
            torch._foreach_add_(present, steps)
