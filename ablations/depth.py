"""How deep can a residual network go on CIFAR-10?"""

from ablations.papers import CIFAR_2015
from ablations.study import Claim, Published, Study, grid

TABLE = "arXiv:1512.03385, Table 6"
PAPER = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97}

STUDY = Study(
    question="Do residual networks get better with depth, and where does that end?",
    source="arXiv:1512.03385, section 4.2, Table 6",
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"],
    # Three seeds of 1202 where the paper has one run: one pair of runs has no interval. They are too few to say that
    # two networks are as good: the claim about the training set stays undecided until more seeds are asked for.
    cells=grid(model__depth=[20, 32, 44, 56, 110], seed=range(5)) + grid(model__depth=1202, seed=range(3)),
    rows="model.depth",
    baseline=20,
    published=[
        *(
            Published({"model.depth": depth}, error, TABLE, differs=CIFAR_2015)
            for depth, error in PAPER.items()
        ),
        Published({"model.depth": 110}, 6.61, TABLE, "mean", std=0.16, runs=5, differs=CIFAR_2015),
        Published({"model.depth": 110}, 6.43, TABLE, "best", runs=5, differs=CIFAR_2015),
        Published({"model.depth": 1202}, 7.93, TABLE, differs=CIFAR_2015),
        Published(
            {"model.depth": 1202},
            0.1,
            "arXiv:1512.03385, section 4.2",
            metric="train/error",
            bound="below",
            differs=CIFAR_2015,
        ),
    ],
    claims=[
        *(
            Claim(
                f"ResNet-{deep} is better than ResNet-{shallow}",
                of={"model.depth": deep},
                than={"model.depth": shallow},
                below=0,
                where=TABLE,
            )
            for shallow, deep in [(20, 32), (32, 44), (44, 56), (56, 110)]
        ),
        Claim(
            "ResNet-1202 is worse than ResNet-110",
            of={"model.depth": 1202},
            than={"model.depth": 110},
            above=0,
            where=TABLE,
        ),
        Claim(
            "ResNet-1202 fits the training set as well as ResNet-110",
            of={"model.depth": 1202},
            than={"model.depth": 110},
            within=0.2,
            reason="ours: twice the 0.1 % that section 4.2 has as a limit for ResNet-1202",
            metric="train/error",
            where="arXiv:1512.03385, section 4.2: “training error < 0.1 %”, “similar training error”",
        ),
    ],
)
