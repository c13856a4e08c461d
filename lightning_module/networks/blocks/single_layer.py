"""One 3x3 convolution: ResNet-110(1layer), 36 units a stage (arXiv:1603.05027, Table 3)."""

from lightning_module.networks.blocks import Convolution, Layer

EXPANSION = 1


def layers(in_channels: int, width: int, stride: int, bottleneck_stride: str) -> list[Layer]:
    """A single 3x3, which takes the stride."""
    return [Convolution(in_channels, width, 3, stride)]
