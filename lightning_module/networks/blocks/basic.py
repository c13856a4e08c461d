"""Two 3x3 convolutions: the unit of the 18- and 34-layer nets and of CIFAR (arXiv:1512.03385, Fig. 5 left)."""

from lightning_module.networks.blocks import Convolution, Layer

EXPANSION = 1


def layers(in_channels: int, width: int, stride: int, bottleneck_stride: str) -> list[Layer]:
    """3x3 then 3x3, the stride on the first (arXiv:1512.03385, section 3.3)."""
    return [Convolution(in_channels, width, 3, stride), Convolution(width, width, 3)]
