"""Layer responses (arXiv:1512.03385, Fig. 7): which layers, and what is measured."""

import pytest
import torch

from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.resnet import build
from lightning_module.networks.responses import layer_responses


@pytest.mark.parametrize(
    ("choice", "layers"),
    [
        ({"depth": 20}, 19),
        ({"depth": 20, "shortcut": "none"}, 19),
        ({"depth": 110}, 109),
        ({"depth": 29, "block": "bottleneck", "shortcut": "B"}, 10),
        ({"depth": 14, "activation": "full_preactivation"}, 13),
        ({"form": "imagenet", "depth": 18}, 16),
    ],
)
def test_every_3x3_layer_once_in_order(choice: dict[str, object], layers: int) -> None:
    network = build(NetworkConfig(**{"width": 4} | choice), 3)  # type: ignore[arg-type]
    responses = layer_responses(network, torch.randn(2, 3, 32, 32))
    order = [name for name, _ in network.named_modules() if name in responses]
    assert list(responses) == order
    assert len(responses) == layers


def test_response_is_behind_bn_and_before_relu_and_addition() -> None:
    torch.manual_seed(0)
    network = build(NetworkConfig(depth=8, width=4), 3)
    images = torch.randn(5, 3, 8, 8)
    for _ in range(3):
        network(images)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    responses = layer_responses(network, images)
    assert network.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())

    network.eval()
    stem = network.stem.bn(network.stem.conv(images))  # type: ignore[operator]
    first = network.stages[0][0].residual  # type: ignore[index]
    response = first.bn2(first.conv2(first.bn1(first.conv1(stem.relu())).relu()))
    assert responses["stem.conv"] == pytest.approx(stem.detach().double().std(correction=0).item(), rel=1e-4)
    assert responses["stages.0.0.residual.conv2"] == pytest.approx(
        response.detach().double().std(correction=0).item(), rel=1e-4
    )


def test_without_bn_directly_behind_it_is_the_convolution() -> None:
    torch.manual_seed(0)
    network = build(NetworkConfig(depth=8, width=4, activation="full_preactivation"), 3).eval()
    images = torch.randn(5, 3, 8, 8)
    responses = layer_responses(network, images)
    unit = network.stages[0][0]  # type: ignore[index]
    behind_first = unit.residual.bn2(unit.residual.conv1(network.stem(images)))
    behind_last = unit.residual.conv2(behind_first.relu())
    assert responses["stages.0.0.residual.conv1"] == pytest.approx(
        behind_first.std(correction=0).item(), rel=1e-4
    )
    assert responses["stages.0.0.residual.conv2"] == pytest.approx(
        behind_last.std(correction=0).item(), rel=1e-4
    )
