"""Activation checkpointing changes nothing but memory: bit for bit, running statistics included."""

import copy
from typing import Any

import pytest
import torch

from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import ResNet, build


def trained(every: int, choice: dict[str, Any]) -> tuple[ResNet, list[float]]:
    torch.manual_seed(0)
    network = build(NetworkConfig(**{"depth": 20, "width": 4} | choice), 3, checkpoint_every=every)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(3):
        loss = network(torch.randn(4, 3, 8, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return network, losses


@pytest.mark.parametrize("every", [1, 2, 5, 100])
@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"activation": "full_preactivation", "shortcut": "B"},
        {"activation": "relu_only_preactivation"},
        {"shortcut_type": "dropout", "dropout": 0.5},
        {"stochastic_depth": 0.9, "residual_dropout": 0.3},
        {"shortcut_type": "exclusive_gating"},
    ],
    ids=str,
)
def test_training_is_bit_for_bit_the_same(every: int, choice: dict[str, Any]) -> None:
    (plain, losses), (checkpointed, found) = trained(0, choice), trained(every, choice)
    assert losses == found
    expected, state = plain.state_dict(), checkpointed.state_dict()
    assert list(expected) == list(state)
    for name, tensor in expected.items():
        assert torch.equal(tensor, state[name]), name
    norm = checkpointed.stages[0][0].residual.bn2  # type: ignore[index]
    assert (norm.momentum, int(norm.num_batches_tracked)) == (0.1, 3)


def test_checkpointing_keeps_less() -> None:
    def kept(every: int) -> int:
        network = build(NetworkConfig(depth=56, width=4), 3, checkpoint_every=every)
        bytes_kept = 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal bytes_kept
            bytes_kept += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(torch.randn(4, 3, 8, 8))
        return bytes_kept

    assert kept(5) < kept(0) / 4


def test_evaluation_is_the_same() -> None:
    network = build(NetworkConfig(depth=14, width=4), 3, checkpoint_every=2).eval()
    images = torch.randn(2, 3, 8, 8)
    with_gradients = network(images)
    network.checkpoint_every = 0
    assert torch.equal(with_gradients, network(images))


@pytest.mark.parametrize("every", [0, 2])
def test_compiled_is_the_same(every: int) -> None:
    torch.manual_seed(0)
    network = build(NetworkConfig(depth=8, width=4), 3, checkpoint_every=every)
    compiled = copy.deepcopy(network)
    images = torch.randn(2, 3, 8, 8)
    run = torch.compile(compiled, backend="aot_eager", fullgraph=every == 0)
    torch.autograd.backward([network(images).square().sum(), run(images).square().sum()])
    for parameter, found in zip(network.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(found.grad, parameter.grad)
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(compiled.get_buffer(name), buffer)


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="checkpoint_every=-1 is not a number of units; 0 turns it off"):
        build(NetworkConfig(), 10, checkpoint_every=-1)
