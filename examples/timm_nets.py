"""A family of one's own: any classifier of timm by its name (`pip install "residual-ablations[timm]"`).

In this folder:  python ../run.py model.family=timm_nets model.architecture=resnet18 data=cifar10 recipe=he2016_cifar

timm's code is not this file's, so its version is a key: another version is another network, with runs of its own.
"""

import difflib
from dataclasses import dataclass

import timm
from torch import nn


@dataclass(frozen=True)
class Config:
    """The keys below `model`. stochastic_depth: timm's drop_path_rate, of the architectures that have it."""

    architecture: str = "resnet18"
    stochastic_depth: float = 0.0
    version: str = timm.__version__

    def __post_init__(self) -> None:
        if self.architecture not in timm.list_models():
            near = difflib.get_close_matches(self.architecture, timm.list_models(), n=3)
            raise ValueError(
                f"model.architecture={self.architecture} is no model of timm; near are {', '.join(near)}"
            )
        if self.version != timm.__version__:
            raise ValueError(
                f"model.version={self.version} is not installed; timm is {timm.__version__} here"
            )

    @property
    def name(self) -> str:
        """For people."""
        return f"timm {self.architecture}"

    def build(self, classes: int, channels: int) -> nn.Module:
        """The network, newly initialised."""
        more = {"drop_path_rate": self.stochastic_depth} if self.stochastic_depth else {}
        network: nn.Module = timm.create_model(
            self.architecture, num_classes=classes, in_chans=channels, **more
        )
        return network
