"""The step of the training path: as a graph, in other precision, and counted, it is the same step."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small import SMALL
from torch import Tensor, nn

from ablations.sweep.compose import compose, make_cell
from lightning_module import train
from lightning_module.cell.record import Record
from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build
from lightning_module.training import checkpoint, step
from lightning_module.training.interruption import Interruption
from lightning_module.training.step import WARM, Graphed, Step, counted_together

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
STEPS = WARM + 4
RATES = [0.125] * 4 + [0.03125] * (STEPS - 4)
"""The learning rate drops while a graph is in use; both are the same number in 32 and in 64 bits."""


def make(network: nn.Module, device: torch.device, rate: Tensor | float) -> Step:
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
        "32",
        torch.channels_last,
        sums.to(device),
        window.to(device),
    )


def state(step: Step) -> list[Tensor]:
    buffers = [value["momentum_buffer"] for value in step.optimizer.state.values()]
    return [*step.network.state_dict().values(), *buffers, step.sums, step.window]


def train_both(device: torch.device) -> tuple[Step, Step, Graphed]:
    """The same steps plainly and graphed."""
    random = torch.Generator().manual_seed(1)
    batches = [
        (torch.randint(256, (8, 3, 8, 8), dtype=torch.uint8, generator=random), torch.arange(8) % 10)
        for _ in range(STEPS)
    ]
    torch.manual_seed(0)
    network = build(NetworkConfig(depth=8), 10)
    rate = torch.zeros((), device=device)
    plain, recorded = make(network, device, 0.0), make(network, device, rate)
    graphed = Graphed(recorded, device)
    for (images, labels), value in zip(batches, RATES, strict=True):
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
    assert graphed.replay is not None
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


@gpu
def test_gpu_a_recorded_step_is_the_plain_step():
    torch.backends.cudnn.deterministic = True
    plain, recorded, graphed = train_both(torch.device("cuda"))
    assert graphed.replay is not None
    for a, b in zip(state(plain), state(recorded), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def cell(runs: Path, *overrides: str) -> Record:
    texts = (*SMALL, f"runs={runs}", *overrides)
    return train.run(make_cell(compose(texts), texts), Interruption())


def losses(record: Record) -> list[float]:
    assert record.state == "finished", record.status
    return [epoch["train/loss"] for epoch in record.epochs]


@gpu
@pytest.mark.parametrize("shortcut", ["identity", "dropout"])
def test_gpu_training_with_and_without_a_graph(tmp_path, shortcut):
    more = ["model.shortcut_type=dropout", "model.dropout=0.5"] if shortcut == "dropout" else []
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
        with counted_together(norm, 3):
            assert norm.num_batches_tracked is None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert norm.num_batches_tracked is not None
