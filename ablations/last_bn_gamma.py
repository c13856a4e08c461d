"""Residual functions that begin at zero, so that the network begins as its shortcuts."""

from ablations.papers import CIFAR_2015, HALF_A_POINT
from ablations.study import Claim, Published, Study, grid

PAPER = {20: 8.75, 56: 6.97}
OFF, ON = {"model.zero_init_last_bn": False}, {"model.zero_init_last_bn": True}

STUDY = Study(
    question="Does it help to begin with the last batch normalisation of every unit at zero?",
    source="arXiv:1706.02677, section 5.1, on ImageNet; neither of the residual networks' papers does it",
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"],
    cells=grid(model__zero_init_last_bn=[False, True], model__depth=[20, 56, 110], seed=range(6)),
    rows="model.depth",
    columns="model.zero_init_last_bn",
    baseline=False,
    published=[
        *(
            Published({**OFF, "model.depth": depth}, error, "arXiv:1512.03385, Table 6", differs=CIFAR_2015)
            for depth, error in PAPER.items()
        ),
        Published(
            {**OFF, "model.depth": 110},
            6.61,
            "arXiv:1512.03385, Table 6",
            "mean",
            std=0.16,
            runs=5,
            differs=CIFAR_2015,
        ),
    ],
    claims=[
        Claim("A last BN that begins at zero helps", of=ON, than=OFF, below=0, where="arXiv:1706.02677"),
        Claim(
            "It makes no difference that matters on CIFAR-10",
            of=ON,
            than=OFF,
            within=0.5,
            reason=HALF_A_POINT,
        ),
    ],
)
