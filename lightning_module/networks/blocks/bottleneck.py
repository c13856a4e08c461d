"""1x1, 3x3, 1x1 with four times the width at its ends (arXiv:1512.03385, Fig. 5 right)."""

from lightning_module.networks.blocks import Convolution, Layer

EXPANSION = 4


def layers(in_channels: int, width: int, stride: int, bottleneck_stride: str) -> list[Layer]:
    """1x1 down, 3x3, 1x1 up, the stride on the first 1x1 (the papers) or on the 3x3 (`bottleneck_stride`).

    The papers' tables leave the place open; the authors' networks, in Caffe and in Torch, stride the first 1x1.
    The 3x3 came with fb.resnet.torch and is widely called "v1.5": it costs 7 % more multiply-adds at 50 layers.
    """
    first, middle = (stride, 1) if bottleneck_stride == "conv1x1" else (1, stride)
    return [
        Convolution(in_channels, width, 1, first),
        Convolution(width, width, 3, middle),
        Convolution(width, EXPANSION * width, 1),
    ]
