"""DenseNet: each layer reads the outputs of all layers before it in its block (arXiv:1608.06993)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lightning_module.networks.families.densenet import Config
from lightning_module.networks.staged import Staged


class DenseNet(Staged):
    """A 3x3 convolution, three dense blocks with transitions between them, BN, ReLU, global pooling, classifier.

    The first convolution has 16 channels, or 2k in a DenseNet-BC (section 3, "Implementation Details"). Convolutions
    begin as in He et al. (arXiv:1502.01852) over fan-out, as in the authors' code, the classifier's bias at zero.
    """

    def __init__(self, config: Config, classes: int, in_channels: int) -> None:
        super().__init__()
        channels = 2 * config.growth if config.bottleneck and config.compression < 1 else 16
        self.stem = _convolution(in_channels, channels, 3)
        stages: list[nn.Module] = []
        for block in range(3):
            stage: list[nn.Module] = []
            if block:
                kept = max(1, int(channels * config.compression))
                stage.append(_transition(channels, kept, config))
                channels = kept
            for _ in range(config.layers_per_block):
                stage.append(DenseLayer(channels, config))
                channels += config.growth
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.last_activation = _activated(channels)
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images float[B, in_channels, H, W] -> logits float[B, classes]."""
        x: Tensor = self.last_activation(self.run_stages(self.stem(images)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


class DenseLayer(nn.Module):
    """Its input, and k channels more that BN, ReLU and a 3x3 convolution make of it."""

    def __init__(self, channels: int, config: Config) -> None:
        super().__init__()
        layers = OrderedDict[str, nn.Module]()
        if config.bottleneck:
            layers["squeeze"] = _weighted(channels, 4 * config.growth, 1, config)
            channels = 4 * config.growth
        layers["grow"] = _weighted(channels, config.growth, 3, config)
        self.layers = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C + k, H, W]."""
        return torch.cat([x, self.layers(x)], dim=1)


def _transition(channels: int, kept: int, config: Config) -> nn.Sequential:
    """BN, ReLU, 1x1 convolution and 2x2 average pooling; the ReLU is in the authors' code and not in the paper."""
    layers = _weighted(channels, kept, 1, config)
    layers.add_module("pool", nn.AvgPool2d(2))
    return layers


def _weighted(in_channels: int, out_channels: int, kernel: int, config: Config) -> nn.Sequential:
    layers = _activated(in_channels)
    layers.add_module("conv", _convolution(in_channels, out_channels, kernel))
    if config.dropout:
        layers.add_module("dropout", nn.Dropout(config.dropout))
    return layers


def _activated(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True)))


def _convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
