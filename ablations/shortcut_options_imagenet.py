"""The shortcuts A, B and C in 34 layers on ImageNet, as the paper compared them."""

from typing import Any

from ablations.papers import IMAGENET_2015, half
from ablations.study import Claim, Published, Study, grid

TABLE, SCALES = "arXiv:1512.03385, Table 3", "arXiv:1512.03385, Table 4"
ERROR, TOP5 = "test_ten_crop/error", "test_ten_crop/top5_error"
PAPER = {"none": (28.54, 10.02), "A": (25.03, 7.76), "B": (24.52, 7.46), "C": (24.19, 7.40)}
MULTI_SCALE = {"B": (21.84, 5.71), "C": (21.53, 5.60)}
SMALL = "ours: less than a third of the 3.51 points between ResNet-34 A and plain-34 in Table 3"
CLAIMS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("B", "better than", "A", {"below": 0}),
    ("C", "better than", "B", {"below": 0}),
    ("C", "as good as", "A", {"within": 1, "reason": SMALL}),
]

STUDY = Study(
    question="Do projection shortcuts (B, C) beat identity shortcuts (A) on ImageNet?",
    source="arXiv:1512.03385, section 4.1, Table 3",
    base=["model=resnet_imagenet", "data=imagenet", "recipe=he2015_imagenet"],
    # Three seeds are too few to say that two networks are as good: that claim stays undecided until more are asked for.
    cells=grid(model__shortcut=["A", "B", "C", "none"], model__depth=34, seed=range(3)),
    rows="model.depth",
    columns="model.shortcut",
    baseline="A",
    metric=ERROR,
    published=[
        Published({"model.shortcut": shortcut}, value, TABLE, metric=metric, differs=IMAGENET_2015)
        for shortcut, values in PAPER.items()
        for value, metric in zip(values, (ERROR, TOP5), strict=True)
    ]
    + [
        Published({"model.shortcut": shortcut}, value, SCALES, metric=metric, differs=IMAGENET_2015)
        for shortcut, values in MULTI_SCALE.items()
        for value, metric in zip(
            values, ("test_multi_scale/error", "test_multi_scale/top5_error"), strict=True
        )
    ],
    claims=[
        Claim(
            f"ResNet-34 {of} is {text} ResNet-34 {than}",
            of={"model.shortcut": of},
            than={"model.shortcut": than},
            metric=ERROR,
            where=f"Table 3: {PAPER[of][0]} against {PAPER[than][0]}",
            **margin,
        )
        for of, text, than, margin in CLAIMS
    ]
    + [
        Claim(
            "ResNet-34 A is better than plain-34",
            of={"model.shortcut": "A"},
            than={"model.shortcut": "none"},
            **half(25.03, 28.54, "Table 2"),
            metric=ERROR,
            where="Table 2: 25.03 against 28.54",
        )
    ],
)
