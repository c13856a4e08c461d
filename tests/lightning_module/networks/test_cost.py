"""Cost: the papers' numbers, a formula, the real thing, and that it is quick."""

import time
from typing import Any

import pytest
import torch

from lightning_module.networks import cost as module
from lightning_module.networks.config import Cost, NetworkConfig
from lightning_module.networks.cost import cost
from lightning_module.networks.resnet import build


def imagenet(depth: int, **choice: Any) -> int:
    block = "basic" if depth < 50 else "bottleneck"
    config = NetworkConfig(form="imagenet", depth=depth, width=64, block=block, **choice)
    return cost(config, num_classes=1000, image_size=224).multiply_adds


@pytest.mark.parametrize(
    ("depth", "shortcut", "billions"),
    [(18, "A", 1.8), (34, "A", 3.6), (50, "B", 3.8), (101, "B", 7.6), (152, "B", 11.3)],
)
def test_multiply_adds_are_the_flops_of_table_1(depth: int, shortcut: str, billions: float) -> None:
    # The paper's 3.8 for 50 layers is 3.86 by our count, cut off rather than rounded.
    assert imagenet(depth, shortcut=shortcut) / 1e9 == pytest.approx(billions, abs=0.07)


def test_striding_the_3x3_costs_more() -> None:
    assert imagenet(50, shortcut="B") == 3_857_973_248
    assert imagenet(50, shortcut="B", bottleneck_stride="conv3x3") == 4_089_184_256


@pytest.mark.parametrize("depth", [8, 20, 56, 1202])
def test_cifar_multiply_adds_by_formula(depth: int) -> None:
    n = (depth - 2) // 6
    expected = 32**2 * 9 * (3 * 16 + 256 * 2 * n) + 640
    expected += 16**2 * 9 * (16 * 32 + 32 * 32 * (2 * n - 1)) + 8**2 * 9 * (32 * 64 + 64 * 64 * (2 * n - 1))
    for batch_size in (1, 4):
        found = cost(NetworkConfig(depth=depth), num_classes=10, image_size=32, batch_size=batch_size)
        assert found.multiply_adds == expected


def by_hand(
    stages: list[tuple[int, int]], size: int, channels: int, bottleneck: bool, shortcut: str, gates: bool
) -> int:
    """Multiply-adds of the units: (units, width) of each stage, the size and channels that come in."""
    total = 0
    for stage, (units, width) in enumerate(stages):
        size //= 2 if stage else 1
        out = 4 * width if bottleneck else width
        for unit in range(units):
            if bottleneck:
                weights = channels * width + 9 * width**2 + width * out
            else:
                weights = 9 * channels * width + 9 * width**2
            resized = unit == 0 and (stage > 0 or channels != out)
            if shortcut == "C" or (shortcut == "B" and resized):
                weights += channels * out
            weights += channels * out * gates
            total += weights * size**2
            channels = out
    return total


@pytest.mark.parametrize(
    ("choice", "gates"),
    [
        ({"depth": 164, "block": "bottleneck", "shortcut": "B"}, False),
        ({"depth": 1001, "block": "bottleneck", "shortcut": "B", "activation": "full_preactivation"}, False),
        ({"depth": 110, "shortcut": "C"}, False),
        ({"depth": 56, "shortcut": "none"}, False),
        ({"depth": 110, "shortcut_type": "exclusive_gating"}, True),
        ({"depth": 110, "shortcut_type": "shortcut_only_gating", "gate_bias": -6.0}, True),
        ({"depth": 110, "shortcut_type": "dropout", "dropout": 0.5}, False),
        ({"depth": 110, "activation": "relu_only_preactivation"}, False),
    ],
)
def test_cifar_variants_by_formula(choice: dict[str, Any], gates: bool) -> None:
    bottleneck = choice.get("block") == "bottleneck"
    units = (choice["depth"] - 2) // (9 if bottleneck else 6)
    expected = 32**2 * 27 * 16 + (640 if not bottleneck else 2560)
    stages = [(units, 16), (units, 32), (units, 64)]
    expected += by_hand(stages, 32, 16, bottleneck, choice.get("shortcut", "A"), gates)
    assert cost(NetworkConfig(**choice), 10, 32).multiply_adds == expected


def test_resnet_200_by_formula() -> None:
    expected = 112**2 * 147 * 64 + 2048 * 1000
    expected += by_hand([(3, 64), (24, 128), (36, 256), (3, 512)], 56, 64, True, "B", False)
    assert imagenet(200, shortcut="B", activation="full_preactivation") == expected


@pytest.mark.parametrize(
    "choice",
    [
        {"depth": 50},
        {"depth": 47, "block": "bottleneck", "shortcut": "C"},
        {"depth": 29, "block": "single_layer", "activation": "full_preactivation"},
        {"depth": 38, "shortcut_type": "exclusive_gating"},
    ],
)
def test_continued_is_measured(choice: dict[str, Any]) -> None:
    config = NetworkConfig(**choice)
    assert cost(config, 10, 16, 3, 1) == module._measured(config, 10, 16, 3, 1)


def test_activation_bytes_are_those_of_a_real_step() -> None:
    config = NetworkConfig(depth=20)
    network = build(config, 10)
    own = {tensor.data_ptr() for tensor in network.state_dict().values()}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(torch.randn(2, 3, 32, 32))
    real = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    assert logits.requires_grad
    assert cost(config, 10, 32, batch_size=2).activation_bytes == pytest.approx(real, rel=0.01)
    assert cost(config, 10, 32, batch_size=1).activation_bytes / 2**20 == pytest.approx(1.5, abs=0.15)


def test_cost_is_quick_and_leaves_the_random_generator_alone() -> None:
    config = NetworkConfig(depth=1202)
    cost(NetworkConfig(depth=8), 10, 32)
    state = torch.get_rng_state()
    start = time.process_time()
    found = cost(config, 10, 32, batch_size=128)
    assert time.process_time() - start < 1
    assert found == Cost(19_421_274, 2_829_238_912, found.activation_bytes)
    assert torch.equal(state, torch.get_rng_state())
