"""The network: first convolution, stages of residual units, global average pooling, classifier."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from lightning_module.networks.config import NetworkConfig
from lightning_module.networks.staged import Staged
from lightning_module.networks.unit import Unit, activation_of


class ResNet(Staged):
    """A residual or plain network in the CIFAR or the ImageNet form.

    CIFAR form (arXiv:1512.03385, section 4.2): a 3x3 convolution, three stages of widths w, 2w, 4w (w = 16) on
    maps of 32, 16, 8 pixels for 32x32 images. ImageNet form (Table 1): 7x7 convolution of stride 2, 3x3 max
    pooling of stride 2, four stages of widths w to 8w (w = 64). Any image size works: pooling is global. `widen`
    multiplies the widths of the stages (arXiv:1605.07146), not that of the first convolution.

    The first convolution is followed by BN and ReLU in every variant. In a pre-activation net this is the paper's
    treatment of the first unit ("activation right after conv1"), and the last addition is followed by one more
    activation (arXiv:1603.05027, Appendix).
    """

    def __init__(
        self, config: NetworkConfig, num_classes: int, in_channels: int, checkpoint_every: int = 0
    ) -> None:
        super().__init__()
        self.checkpoint_every = checkpoint_every
        self.stem = _stem(in_channels, config.width, config)
        channels, width = config.width, config.width * config.widen
        number, count = 0, sum(config.units_per_stage)
        stages: list[nn.Module] = []
        for index, units in enumerate(config.units_per_stage):
            stage: list[nn.Module] = []
            for position in range(units):
                stride = 2 if index > 0 and position == 0 else 1
                number += 1
                survival = 1 - config.stochastic_depth * number / count
                unit = Unit(channels, width << index, stride, config, number == 1, survival)
                channels = unit.out_channels
                stage.append(unit)
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.last_activation = activation_of(channels, config) if config.preactivation else None
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images float[B, in_channels, H, W] -> logits float[B, num_classes]."""
        x: Tensor = self.stem(images)
        x = self.run_stages(x)
        if self.last_activation is not None:
            x = self.last_activation(x)
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def build(config: NetworkConfig, num_classes: int, in_channels: int = 3, checkpoint_every: int = 0) -> ResNet:
    """The network of `config`, newly initialised from torch's global random generator.

    Args:
        config: which network
        num_classes: logits per image
        in_channels: channels of an image
        checkpoint_every: units between two activation checkpoints, to train in less memory at about 1.3 times the
            time (about the square root of the number of units saves most); 0 keeps every activation. It changes
            no result, so it is no part of the configuration

    Raises:
        ValueError: `checkpoint_every` is negative
    """
    if checkpoint_every < 0:
        raise ValueError(f"checkpoint_every={checkpoint_every} is not a number of units; 0 turns it off")
    network = ResNet(config, num_classes, in_channels, checkpoint_every)
    _initialise(network, config)
    return network


def _stem(in_channels: int, width: int, config: NetworkConfig) -> nn.Sequential:
    kernel, stride = (3, 1) if config.form == "cifar" else (7, 2)
    first = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, bias=config.stem_bias)
    if first.bias is not None:
        nn.init.zeros_(first.bias)
    layers = OrderedDict[str, nn.Module](
        conv=first,
        bn=nn.BatchNorm2d(width),
        relu=nn.ReLU(inplace=True),
    )
    if config.form == "imagenet":
        layers["pool"] = nn.MaxPool2d(3, 2, padding=1)
    return nn.Sequential(layers)


_Initializer = Callable[[Tensor], Tensor]

_CONVOLUTIONS: dict[str, _Initializer] = {
    "he_fan_out": partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
    "he_fan_in": partial(nn.init.kaiming_normal_, mode="fan_in", nonlinearity="relu"),
    "glorot_uniform": nn.init.xavier_uniform_,
    "truncated_normal": partial(nn.init.trunc_normal_, std=0.1, a=-0.2, b=0.2),
}
_CLASSIFIERS: dict[str, _Initializer] = {
    "uniform": partial(nn.init.kaiming_uniform_, a=math.sqrt(5)),
    "unit_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="linear"),
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "truncated_normal": partial(nn.init.trunc_normal_, std=0.01, a=-0.02, b=0.02),
}


def _initialise(network: ResNet, config: NetworkConfig) -> None:
    """Convolutions as in reference [13] of arXiv:1512.03385 (sections 3.4 and 4.2), the classifier as its code.

    [13] is He et al., "Delving Deep into Rectifiers" (arXiv:1502.01852): normal, variance 2 / fan. It allows fan-in
    and fan-out; the authors' released code uses fan-out, k * k * out_channels, and so does `he_fan_out`. No ReLU
    follows the classifier and neither paper says how it begins; `uniform` is what that code has, +-1 / sqrt(inputs).
    The classifier's bias is zero. BN begins as identity. The other values are those of public implementations.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _CONVOLUTIONS[config.initialization](module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = config.bn_epsilon, config.bn_momentum
    _CLASSIFIERS[config.classifier_initialization](network.classifier.weight)
    nn.init.zeros_(network.classifier.bias)
    if config.zero_init_last_bn:
        for module in network.modules():
            if isinstance(module, Unit):
                last = [child for child in module.residual if isinstance(child, nn.BatchNorm2d)][-1]
                nn.init.zeros_(last.weight)
