"""Weights in bf16, converted all together; autocast converts each by itself, which is a launch per weight each way."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_module.cell.config import TrainerConfig

CONVERTED = (nn.Conv2d, nn.Linear)
"""The modules whose parameters autocast converts. A class derived from them may use its weights otherwise."""


def bf16_weights(network: nn.Module, trainer: TrainerConfig) -> Bf16Weights | None:
    """What a cell needs of them: none in 32 bits, and none for several processes, whose exchange of gradients hangs
    on the weights themselves."""
    return Bf16Weights(network) if trainer.precision == "bf16" and trainer.processes == 1 else None


class Bf16Weights:
    """Calls a network with bf16 copies of its weights, and brings the gradients back to the weights.

    Outputs and gradients are bit for bit those of autocast, under which it is called and which converts whatever is
    not converted here. Copies and gradients have memory of their own that stays, as a CUDA graph needs it.
    """

    def __init__(self, network: nn.Module) -> None:
        """The network is on its device, in its memory format, and runs in one process."""
        self.network = network
        weights = {
            f"{name}.{key}": weight
            for name, module in network.named_modules()
            if type(module) in CONVERTED
            for key, weight in module.named_parameters(recurse=False)
        }
        self.weights = list(weights.values())
        self.copies: dict[str, Tensor] = {
            name: nn.Parameter(torch.empty_like(weight, dtype=torch.bfloat16), weight.requires_grad)
            for name, weight in weights.items()
        }
        self.gradients = [torch.empty_like(weight) for weight in self.weights]

    def __call__(self, images: Tensor) -> Tensor:
        """network(images), with the weights as they are now."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.copies.values()), self.weights)
        logits: Tensor = functional_call(self.network, self.copies, (images,))
        return logits

    def bring_back(self) -> None:
        """After the backward pass: the gradients of the copies become those of the weights."""
        found, wanted = list[Tensor](), list[Tensor]()
        for weight, copy, gradient in zip(self.weights, self.copies.values(), self.gradients, strict=True):
            if copy.grad is not None:
                found.append(copy.grad)
                wanted.append(gradient)
                weight.grad, copy.grad = gradient, None
        torch._foreach_copy_(wanted, found)
