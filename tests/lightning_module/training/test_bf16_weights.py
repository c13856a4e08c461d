"""Weights converted together train the same network, to the bit, as weights that autocast converts one by one."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
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
from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build
from lightning_module.networks.unit import Unit
from lightning_module.training import checkpoint, classifier, step
from lightning_module.training.bf16_weights import Bf16Weights, bf16_weights
from lightning_module.training.interruption import Interruption
from lightning_module.training.step import Graphed, Step

STEPS = 4


def a_step(network: nn.Module, *, together: bool, layout: torch.memory_format = torch.channels_last) -> Step:
    network = copy.deepcopy(network).to(memory_format=layout)
    return Step(
        lambda images, labels: (images, labels),
        network,
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True),
        Tensor.backward,
        "bf16",
        layout,
        torch.zeros(2, dtype=torch.float64),
        torch.zeros((), dtype=torch.int64),
        Bf16Weights(network) if together else None,
    )


def trained(step: Step, make: Callable[..., None] | None = None) -> list[Tensor]:
    """All that four steps change."""
    random = torch.Generator().manual_seed(1)
    for number in range(STEPS):
        images, labels = torch.randn(6, 3, 9, 9, generator=random), torch.arange(6)
        torch.manual_seed(number)  # for dropout
        (make or step)(images, labels)
    buffers = [value["momentum_buffer"] for value in step.optimizer.state.values()]
    assert len(buffers) == len(list(step.network.parameters()))
    return [*step.network.state_dict().values(), *buffers, step.sums, step.window]


def same(network: nn.Module, make: Callable[[Step], Callable[..., None]] = lambda step: step) -> bool:
    one_by_one, together = (a_step(network, together=word) for word in (False, True))
    pairs = zip(trained(one_by_one), trained(together, make(together)), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(width=4, depth=8),
        NetworkConfig(width=4, depth=8, shortcut="B"),
        NetworkConfig(width=4, depth=11, block="bottleneck", shortcut="C", activation="full_preactivation"),
        NetworkConfig(width=4, depth=8, shortcut_type="dropout", dropout=0.5),
        NetworkConfig(width=4, depth=8, shortcut_type="exclusive_gating"),
        NetworkConfig(width=4, depth=8, shortcut_type="shortcut_only_gating", shortcut="B"),
        NetworkConfig(width=4, depth=8, shortcut="none"),
        NetworkConfig(width=4, depth=11, block="bottleneck", groups=2, squeeze_ratio=4, stochastic_depth=0.5),
    ],
    ids=["A", "B", "bottleneck", "dropout", "exclusive", "shortcut only", "plain", "after ResNet"],
)
def test_steps_are_those_of_autocast(config):
    torch.manual_seed(0)
    assert same(build(config, 10))


def test_with_activation_checkpoints():
    torch.manual_seed(0)
    config = NetworkConfig(width=4, depth=14, shortcut="B", shortcut_type="dropout", dropout=0.5)
    assert same(build(config, 10, checkpoint_every=2))


def test_with_compiled_units():
    torch.manual_seed(0)

    def make(step: Step) -> Step:
        for module in step.network.modules():
            if isinstance(module, Unit):
                module.compile(backend="eager")
        return step

    assert same(build(NetworkConfig(width=4, depth=8, shortcut="B"), 10), make)


def test_in_a_graph_with_its_own_inputs(monkeypatch):
    monkeypatch.setattr(step, "capture", lambda function, inputs, _: lambda: function(*inputs))
    torch.manual_seed(0)
    assert same(build(NetworkConfig(width=4, depth=8), 10), lambda step: Graphed(step, torch.device("cpu")))


def test_memory_stays_where_a_graph_would_have_recorded_it():
    one = a_step(build(NetworkConfig(width=4, depth=8), 10), together=True)

    def places() -> list[int]:
        assert one.weights is not None
        grads = [weight.grad for weight in one.weights.weights]
        return [value.data_ptr() for value in (*one.weights.copies.values(), *grads)]

    trained(one)
    first = places()
    trained(one)
    assert places() == first


class Odd(nn.Conv2d):
    """Uses its weight before autocast sees it."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean(), None)


def test_what_autocast_would_not_convert_alone_is_left_to_it():
    torch.manual_seed(0)
    network = nn.Sequential(
        Odd(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )
    assert list(Bf16Weights(network).copies) == ["5.weight", "5.bias"]
    assert same(network)


def test_a_weight_that_does_not_learn_stays():
    torch.manual_seed(0)
    network = build(NetworkConfig(width=4, depth=8), 10)
    network.stem.conv.weight.requires_grad_(False)
    one = a_step(network, together=True)
    before = one.network.stem.conv.weight.clone()
    one(torch.randn(6, 3, 9, 9), torch.arange(6))
    assert one.network.stem.conv.weight.grad is None
    assert torch.equal(before, one.network.stem.conv.weight)


class Casts(TorchDispatchMode):
    """Counts conversions to another type, and copies of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[func.overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})


def test_one_launch_each_way():
    network = build(NetworkConfig(width=4, depth=20), 10)
    one_by_one, together = (a_step(network, together=word) for word in (False, True))
    counts = []
    for one in (one_by_one, together):
        with Casts() as casts:
            one(torch.randn(6, 3, 9, 9), torch.arange(6))
        counts.append((casts.seen["_to_copy"], casts.seen["_foreach_copy_"]))
    # 19 convolutions, the classifier's weight and bias: each one way forward and one back.
    assert counts == [(counts[1][0] + 2 * 21, 0), (counts[1][0], 2)]


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("devices", [1, 2])
def test_only_bf16_in_one_process_needs_them(precision, devices):
    words = (*SMALL, f"trainer.precision={precision}", f"trainer.devices={devices}", "trainer=cpu")
    trainer = parse_config(compose(words)).trainer
    needed = precision == "bf16" and devices == 1
    assert (bf16_weights(build(NetworkConfig(width=4, depth=8), 10), trainer) is not None) == needed


def test_a_cell_in_bf16_is_what_it_was(tmp_path: Path, monkeypatch):
    def state(name: str) -> list[Tensor]:
        words = (
            *SMALL,
            f"runs={tmp_path / name}",
            "trainer=cpu",
            "trainer.precision=bf16",
            "recipe.steps=8",
            "recipe.drops=[]",
        )
        record = train.run(make_cell(compose(words), words), Interruption())
        assert record.state == "finished", record.status
        return list(checkpoint.load(record.folder)["network"].values())

    together = state("together")
    monkeypatch.setattr(classifier, "bf16_weights", lambda *_: None)
    assert all(torch.equal(a, b) for a, b in zip(together, state("one by one"), strict=True))
