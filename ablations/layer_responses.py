"""How strongly layers respond: is a residual function closer to zero than a function without a reference?"""

from ablations.papers import CIFAR_2015, at
from ablations.study import Claim, Published, Study, grid

FIGURE = "arXiv:1512.03385, Fig. 7, bottom, digitised"
SORTED = {  # (shortcut, depth): rank by size -> standard deviation of that layer's response
    ("none", 20): {1: 2.4, 5: 2.0, 10: 1.8, 14: 1.7, 19: 1.3},
    ("none", 56): {2: 2.4, 10: 2.0, 20: 1.7, 28: 1.5, 40: 1.1, 50: 1.0},
    ("A", 20): {5: 1.8, 10: 1.5, 14: 1.4, 19: 1.1},
    ("A", 56): {1: 2.8, 2: 1.95, 10: 1.3, 20: 1.2, 28: 1.1, 40: 0.95, 54: 0.7},
    ("A", 110): {1: 3.2, 2: 2.0, 10: 1.25, 20: 1.1, 40: 1.0, 55: 0.9, 80: 0.85, 108: 0.7},
}
MEAN = "layer_response/mean"

STUDY = Study(
    question="Do residual functions respond less than plain layers, and less the deeper the network is?",
    source="arXiv:1512.03385, section 4.2, Fig. 7",
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"],
    cells=grid(model__shortcut="none", model__depth=[20, 56], seed=range(3))
    + grid(model__shortcut="A", model__depth=[20, 56, 110], seed=range(3)),
    rows="model.depth",
    columns="model.shortcut",
    baseline="none",
    metric=MEAN,
    published=[
        Published(at(*network), value, FIGURE, metric=f"layer_response/rank {rank}", differs=CIFAR_2015)
        for network, ranks in SORTED.items()
        for rank, value in ranks.items()
    ],
    claims=[
        Claim("ResNet-20 responds less than plain-20", at("A", 20), at("none", 20), below=0, metric=MEAN),
        Claim("ResNet-56 responds less than plain-56", at("A", 56), at("none", 56), below=0, metric=MEAN),
        Claim("ResNet-56 responds less than ResNet-20", at("A", 56), at("A", 20), below=0, metric=MEAN),
        Claim("ResNet-110 responds less than ResNet-56", at("A", 110), at("A", 56), below=0, metric=MEAN),
    ],
)
