"""benchmarks/limit.py counts the kernels of the step that trains, in its precision."""

from __future__ import annotations

import against_peers
import limit
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_module import fit
from lightning_module.cell.config import parse_config
from lightning_module.data.images import DataSet, Images

CPU = torch.device("cpu")


class Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        dtype = args[0].dtype if args and isinstance(args[0], torch.Tensor) else None
        self.names.append((operator.overloadpacket.__name__, dtype))
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize(("precision", "number"), [("32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_kernels_are_those_of_the_real_step_in_its_precision(monkeypatch, precision, number):
    counted = []

    def kernels_of(step, device):
        with Operators() as seen:
            step()
        counted.append(seen.names)
        return len(seen.names)

    monkeypatch.setattr(limit, "kernels_of", kernels_of)
    monkeypatch.setattr(fit, "load", fit.load)  # Ours puts its own there
    monkeypatch.setattr(against_peers, "IMAGES", 200)
    cell = against_peers.cell_of(
        CPU, "data=cifar10", "model.depth=8", "recipe=he2015_cifar", "recipe.batch_size=8",
        f"trainer.precision={precision}",
    )  # fmt: skip
    part = Images(*against_peers.synthetic(32))
    loop = against_peers.Ours(
        cell, DataSet(parse_config(cell.config).data, part, part), against_peers.clock(CPU)
    )
    assert limit.kernels(loop, CPU) == len(counted[0])
    assert len(counted) == 1
    assert [name for name in counted[0] if name[0] == "convolution"] == [("convolution", number)] * 7
    assert sum(name == "convolution_backward" for name, _ in counted[0]) == 7
    assert any(name.startswith("_fused_sgd") for name, _ in counted[0])
    assert any(name == "argmax" for name, _ in counted[0])
