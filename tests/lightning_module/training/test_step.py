"""The step of the training path: as a graph, in other precision, and counted, it is the same step."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SMALL
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ablations.sweep.compose import compose, make_cell
from lightning_module import train
from lightning_module.cell.config import parse_config
from lightning_module.cell.record import Record
from lightning_module.data.stream import Images, Normalisation, TrainStream
from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build
from lightning_module.training import checkpoint, step
from lightning_module.training.bf16_weights import Bf16Weights
from lightning_module.training.classifier import Classifier
from lightning_module.training.interruption import Interruption
from lightning_module.training.step import WARM, Graphed, Step, batch_norms, counted_together

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
STEPS = WARM + 4
RATES = [0.125] * 4 + [0.03125] * (STEPS - 4)
"""The learning rate drops while a graph is in use; both are the same number in 32 and in 64 bits."""


def make(network: nn.Module, device: torch.device, rate: Tensor | float, precision: str = "32") -> Step:
    network = copy.deepcopy(network).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    for group in optimizer.param_groups:
        group["lr"] = rate
    sums, window = torch.zeros(3, dtype=torch.float64), torch.zeros((), dtype=torch.int64)
    return Step(
        lambda images, labels: (images.float() / 255, labels),
        network,
        optimizer,
        Tensor.backward,
        precision,
        torch.channels_last,
        sums.to(device),
        window.to(device),
        Bf16Weights(network) if precision == "bf16" else None,
    )


def state(step: Step) -> list[Tensor]:
    buffers = [value["momentum_buffer"] for value in step.optimizer.state.values()]
    return [*step.network.state_dict().values(), *buffers, step.sums, step.window]


def some_batches() -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [
        (torch.randint(256, (8, 3, 8, 8), dtype=torch.uint8, generator=random), torch.arange(8) % 10)
        for _ in range(STEPS)
    ]


def some_network(config: NetworkConfig | None = None) -> nn.Module:
    torch.manual_seed(0)
    return build(config or NetworkConfig(depth=8), 10)


def train_both(device: torch.device, precision: str = "32") -> tuple[Step, Step, Graphed]:
    """The same steps plainly and graphed."""
    network, rate = some_network(), torch.zeros((), device=device)
    plain, recorded = (make(network, device, value, precision) for value in (0.0, rate))
    graphed = Graphed(recorded, device)
    for (images, labels), value in zip(some_batches(), RATES, strict=True):
        rate.fill_(value)
        plain.optimizer.param_groups[0]["lr"] = value
        plain(images.to(device), labels.to(device))
        graphed(images.to(device), labels.to(device))
    return plain, recorded, graphed


def replayed_by_calling(
    function: Callable[..., None], inputs: tuple[Tensor, ...], stream: object
) -> Callable[[], None]:
    """What a CUDA graph does: the same work on what its inputs hold by then."""
    return lambda: function(*inputs)


def test_a_graph_with_its_own_inputs_is_the_plain_step(monkeypatch):
    monkeypatch.setattr(step, "capture", replayed_by_calling)
    plain, recorded, graphed = train_both(torch.device("cpu"))
    assert graphed.replaying
    assert not graphed.failed
    assert all(torch.equal(a, b) for a, b in zip(state(plain), state(recorded), strict=True))


def test_a_step_that_cannot_be_recorded_goes_on_with_one_warning(monkeypatch, caplog):
    def refuse(*_: object) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(step, "capture", refuse)
    with caplog.at_level(logging.WARNING):
        plain, recorded, graphed = train_both(torch.device("cpu"))
    assert graphed.replay is None
    assert [record.message for record in caplog.records] == [
        "training goes on without a CUDA graph, which cannot be recorded here "
        "(operation not permitted when stream is capturing)"
    ]
    assert all(torch.equal(a, b) for a, b in zip(state(plain), state(recorded), strict=True))


class Stream:
    """A stream that only knows its device and whom it waited for."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.waited_for = torch.device("cuda", 0), list[Stream]()

    def wait_stream(self, other: Stream) -> None:
        self.waited_for.append(other)


@dataclass
class Random:
    """The state of a generator: it takes itself to be recorded until a recording has ended well."""

    recorded: bool = False


class FakeGpu:
    """What PyTorch 2.11 keeps in mind about a recording: stream, generator, and pools that memory comes from.

    A recording in which something was forbidden cannot end: what its end would have undone stays.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.default = self.current = Stream(torch.device("cuda", 0))
        self.random, self.pools = Random(), set[tuple[int, int]]()
        self.recording = self.forbidden = False
        gpu = self

        @contextmanager
        def stream(other: Stream) -> Iterator[None]:
            before, gpu.current = gpu.current, other
            try:
                yield
            finally:
                gpu.current = before

        class Graph:
            def capture_begin(self, pool: tuple[int, int] = (0, 1), **_: object) -> None:
                assert gpu.current is not gpu.default
                gpu.recording, gpu.random.recorded, self.pool = True, True, pool
                gpu.pools.add(pool)

            def capture_end(self) -> None:
                gpu.recording = False
                if gpu.forbidden:
                    raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
                gpu.random.recorded = False
                gpu.pools.remove(self.pool)

            def replay(self) -> None:
                raise AssertionError

        class Generator:
            def clone_state(self) -> Random:
                return Random()

            def graphsafe_set_state(self, state: Random) -> None:
                gpu.random = state

        for name, value in {
            "Stream": Stream,
            "stream": stream,
            "current_stream": lambda _=None: gpu.current,
            "CUDAGraph": Graph,
            "graph_pool_handle": lambda: (0, 7),
            "default_generators": (Generator(),),
            "synchronize": lambda _=None: None,
            "empty_cache": lambda: None,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(
            torch._C, "_cuda_endAllocateToPool", lambda _, pool: gpu.pools.remove(pool), raising=False
        )
        monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda _, pool: None, raising=False)

    def draw(self, places: Tensor) -> Tensor:
        if self.recording:
            self.forbidden = True
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        assert not self.random.recorded, "Offset increment outside graph capture encountered unexpectedly."
        return places


def test_a_recording_that_fails_leaves_no_trace_and_says_what_failed_first(monkeypatch, caplog):
    """On a GPU that is made up, since none is here; test_gpu_a_failed_recording_leaves_no_trace has a real one."""
    batches, network = some_batches(), some_network()
    plain, recorded = (make(network, torch.device("cpu"), 0.125) for _ in range(2))
    gpu = FakeGpu(monkeypatch)
    recorded = replace(recorded, batch=lambda images, labels: plain.batch(gpu.draw(images), labels))
    graphed = Graphed(recorded, torch.device("cuda"))
    with caplog.at_level(logging.WARNING):
        for number, batch in enumerate(batches, 1):
            plain(*batch)
            graphed(*batch)
            assert not graphed.replaying
            assert gpu.current is gpu.default
            assert graphed.stream.waited_for == [gpu.default] * min(number, WARM)
            assert gpu.default.waited_for == [graphed.stream] * min(number, WARM)
    assert [record.message for record in caplog.records] == [
        "training goes on without a CUDA graph, which cannot be recorded here "
        "(CUDA error: operation not permitted when stream is capturing)"
    ]
    assert graphed.failed == "CUDA error: operation not permitted when stream is capturing"
    assert not gpu.random.recorded
    assert not gpu.pools
    assert all(torch.equal(a, b) for a, b in zip(state(plain), state(recorded), strict=True))


@gpu
def test_gpu_a_failed_recording_leaves_no_trace():
    torch.backends.cudnn.deterministic = True
    device = torch.device("cuda")
    network = some_network(NetworkConfig(depth=8, shortcut_type="dropout", dropout=0.5))
    plain, broken = (make(network, device, 0.125) for _ in range(2))

    def batch(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if torch.cuda.is_current_stream_capturing():
            images.sum().item()
        return plain.batch(images, labels)

    broken = replace(broken, batch=batch)
    graphed, first = Graphed(broken, device), torch.cuda.current_stream()
    for number, (images, labels) in enumerate(some_batches()):
        for each in (plain, graphed):
            torch.cuda.manual_seed(number)
            each(images.to(device), labels.to(device))
        assert torch.cuda.current_stream() == first
    assert not graphed.replaying
    assert "capturing" in graphed.failed
    for a, b in zip(state(plain), state(broken), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    _, _, after = train_both(device)  # the next cell of this process can be recorded
    assert after.replaying


@gpu
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_gpu_a_recorded_step_is_the_plain_step(precision):
    torch.backends.cudnn.deterministic = True
    plain, recorded, graphed = train_both(torch.device("cuda"), precision)
    assert graphed.replaying
    assert not graphed.failed
    for a, b in zip(state(plain), state(recorded), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


class Operators(TorchDispatchMode):
    """Counts what would be work for a GPU: no views, no memory without values, no notes for a profiler."""

    IDLE = (
        "empty",
        "new_empty",
        "empty_like",
        "detach",
        "_record_function_enter_new",
        "_record_function_exit",
    )

    def __init__(self) -> None:
        super().__init__()
        self.seen = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        views = any(value.alias_info and not value.alias_info.is_write for value in func._schema.returns)
        if not views and name not in self.IDLE:
            self.seen[name] += 1
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(("precision", "most"), [("32", 165), ("bf16", 170)])
def test_a_step_takes_few_operators(precision, most):
    """At 20 layers a GPU's step is bound by their number: 168 and 213 when this was first counted."""
    words = (
        *SMALL,
        "data=cifar10",
        "recipe=he2015_cifar",
        "model.depth=20",
        f"trainer.precision={precision}",
    )
    config = parse_config(compose(words))
    images = Images(torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8), torch.arange(16) % 10)
    stream = TrainStream(images, Normalisation(images, config.data), config.data, batch_size=2, seed=0)
    one = replace(make(build(config.model, 10), torch.device("cpu"), 0.1, precision), batch=stream.augmented)
    with counted_together(batch_norms(one.network), 2):
        one(stream.places(0))  # the first makes what the others find
        with Operators() as operators:
            one(stream.places(1))
    assert operators.seen.total() <= most, operators.seen


def cell(runs: Path, *overrides: str) -> Record:
    texts = (*SMALL, f"runs={runs}", *overrides)
    return train.run(make_cell(compose(texts), texts), Interruption())


def losses(record: Record) -> list[float]:
    assert record.state == "finished", record.status
    return [epoch["train/loss"] for epoch in record.epochs]


WAITS = {"_local_scalar_dense", "lift_fresh", "nonzero"}
"""A number is read back; values that Python has go to the device; a shape hangs on values."""


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("data.padding_with=black",),
        ("trainer.precision=bf16", "model.shortcut_type=dropout"),
        ("model.stochastic_depth=0.5", "model.residual_dropout=0.3", "model.squeeze_ratio=4"),
    ],
)
def test_nothing_in_a_call_waits_for_the_device(tmp_path, monkeypatch, words):
    original, seen = Classifier.training_step, Counter[str]()

    def watched(self: Classifier, call: tuple[int, int], number: int) -> None:
        on_call, self.on_call = self.on_call, lambda: None
        with Operators() as operators:
            original(self, call, number)
        seen.update(operators.seen)
        self.on_call = on_call
        on_call()

    monkeypatch.setattr(Classifier, "training_step", watched)
    dropout = ("model.dropout=0.5",) * ("model.shortcut_type=dropout" in words)
    assert losses(cell(tmp_path, "trainer=cpu", "trainer.steps_per_call=7", *words, *dropout))
    assert seen["convolution"] and not WAITS & seen.keys()


@gpu
@pytest.mark.parametrize(
    "more",
    [
        [],
        ["model.shortcut_type=dropout", "model.dropout=0.5"],
        ["model.stochastic_depth=0.5", "model.squeeze_ratio=4"],
    ],
    ids=["identity", "dropout", "stochastic depth"],
)
def test_gpu_training_with_and_without_a_graph(tmp_path, more):
    with_graph, without = (
        cell(tmp_path / word, "trainer.accelerator=gpu", f"trainer.cuda_graph={word}", *more)
        for word in ("true", "false")
    )
    assert losses(with_graph) == pytest.approx(losses(without), rel=1e-2)


def test_in_bf16_too_the_length_of_a_call_changes_nothing(tmp_path):
    """Weights that stay converted from one step to the next would be those of the first."""
    one, ten = (
        cell(
            tmp_path / str(length),
            "trainer=cpu",
            "trainer.precision=bf16",
            "recipe.steps=8",
            "recipe.drops=[]",
            f"trainer.steps_per_call={length}",
        )
        for length in (1, 8)
    )
    assert losses(one) == losses(ten)


def test_batches_are_counted_once_a_call(tmp_path):
    record = cell(tmp_path, "trainer=cpu", "recipe.steps=7", "recipe.drops=[]", "trainer.steps_per_call=5")
    network = checkpoint.load(record.folder)["network"]
    assert {int(value) for key, value in network.items() if key.endswith("num_batches_tracked")} == {7}


def test_counting_is_as_before_after_an_error():
    norm = nn.BatchNorm2d(2)

    def broken() -> None:
        with counted_together([norm], 3):
            assert norm.num_batches_tracked is None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert norm.num_batches_tracked is not None
