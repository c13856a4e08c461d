"""The shortcuts A, B and C on CIFAR-10. The paper compares them on ImageNet only."""

from ablations.papers import CIFAR_2015, CIFAR_2016, HALF_A_POINT, at, half, median_2016
from ablations.study import Claim, Published, Study, grid

TABLE = "arXiv:1512.03385, Table 6"
WARM_UP = (
    f"{CIFAR_2016}; warm-up of 400 steps, where our recipe's lasts until the training error is below 80 %"
)
PAPER = {20: 8.75, 56: 6.97}

STUDY = Study(
    question="Do projection shortcuts (B, C) beat identity shortcuts (A)?",
    source="arXiv:1512.03385, section 4.1 (identity against projection shortcuts)",
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"],
    cells=grid(model__shortcut=["A", "B", "C"], model__depth=[20, 56, 110], seed=range(6)),
    rows="model.depth",
    columns="model.shortcut",
    baseline="A",
    published=[
        *(Published(at("A", depth), error, TABLE, differs=CIFAR_2015) for depth, error in PAPER.items()),
        Published(at("A", 110), 6.61, TABLE, "mean", std=0.16, runs=5, differs=CIFAR_2015),
        median_2016(at("C", 110), 12.22, "Table 1 (1x1 conv shortcut)", differs=WARM_UP),
    ],
    claims=[
        Claim(
            "Projections where dimensions change (B) are as good as zero padding (A)",
            of={"model.shortcut": "B"},
            than={"model.shortcut": "A"},
            within=0.5,
            reason=HALF_A_POINT,
            where="section 4.1: the differences are small, projections not essential",
        ),
        Claim(
            "Projections everywhere (C) are as good as zero padding (A) in ResNet-20",
            of=at("C", 20),
            than=at("A", 20),
            within=0.5,
            reason=HALF_A_POINT,
            where="section 4.1, where C is the best of three on ImageNet",
        ),
        Claim(
            "Projections everywhere (C) hurt a network of 110 layers",
            of=at("C", 110),
            than=at("A", 110),
            **half(12.22, 6.61, "Table 1 of arXiv:1603.05027"),
            where="arXiv:1603.05027, Table 1: 12.22 against 6.61",
        ),
    ],
)
