"""A network against a slow one that is written out, on the same weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
"""Parameters by name."""


def assert_same(network: nn.Module, reference: Callable[[State], Tensor], images: Tensor) -> None:
    """Logits and gradients are those of the reference, which is given the parameters by name."""
    state = {name: tensor.detach().clone().requires_grad_() for name, tensor in network.named_parameters()}
    torch.manual_seed(1)  # the random numbers of dropout
    logits = network(images)
    torch.manual_seed(1)
    expected = reference(state)
    weights = torch.randn_like(logits)
    torch.autograd.backward([(logits * weights).sum(), (expected * weights).sum()])
    torch.testing.assert_close(logits, expected)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, state[name].grad, msg=f"gradient of {name}")
