"""How strongly the layers of a trained network respond (arXiv:1512.03385, section 4.2, Fig. 7)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def _is_3x3(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)


@torch.no_grad()
def layer_responses(
    network: nn.Module, images: Tensor, watches: Callable[[nn.Module], bool] | None = None
) -> dict[str, float]:
    """Standard deviation of every 3x3 layer's response, by layer name, in order of execution.

    The response is what the BN directly behind the convolution gives, before non-linearity and addition, over all
    images, channels and positions, with the running statistics as in testing. Where no BN comes directly behind
    (the last convolution of a fully pre-activated unit, whose BN follows the addition), it is the convolution's
    own output. A CIFAR network of depth 110 has 109 of them.

    Args:
        network: any network; its training mode is as before afterwards
        images: float[B, C, H, W], on the network's device
        watches: which layers, in place of the 3x3 convolutions
    """
    names = {module: name for name, module in network.named_modules()}
    responses: dict[str, float] = {}
    behind: dict[int, tuple[str, Tensor]] = {}

    def after_convolution(module: nn.Module, _: object, output: Tensor) -> None:
        responses[names[module]] = output.float().std(correction=0).item()
        behind.clear()
        behind[id(output)] = (names[module], output)

    def after_norm(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if id(inputs[0]) in behind:
            name, _output = behind.pop(id(inputs[0]))
            responses[name] = output.float().std(correction=0).item()

    handles = [
        module.register_forward_hook(after_convolution) for module in names if (watches or _is_3x3)(module)
    ]
    handles += [
        module.register_forward_hook(after_norm) for module in names if isinstance(module, _BatchNorm)
    ]
    training = network.training
    network.eval()
    try:
        network(images)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return responses
