"""How maps get smaller and channels more, where the paper says only "stride of 2" and "zero entries padded"."""

from ablations.papers import HALF_A_POINT, QUARTER_OF_A_POINT
from ablations.study import Claim, Study, grid

STRIDE = {"model.downsampling": "stride"}
SUBSAMPLE = {**STRIDE, "model.shortcut_pooling": "subsample"}
POOL = {**SUBSAMPLE, "model.downsampling": "max_pool"}

STUDY = Study(
    question="Does it matter how option A subsamples, and where it puts the zeros?",
    source="arXiv:1512.03385, section 3.3 (option A), which leaves it open; implementations differ",
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"],
    # With max_pool the whole unit's input is pooled, and the shortcut has nothing left to pool: those
    # combinations are impossible, and the plan says so.
    cells=grid(
        model__downsampling=["stride", "max_pool"],
        model__shortcut_pooling=["subsample", "average", "max"],
        model__zero_padding=["end", "both"],
        model__depth=[20, 56],
        seed=range(6),
    ),
    rows="model.depth",
    columns="model.shortcut_pooling",
    baseline="subsample",
    claims=[
        Claim(
            "Zeros on both sides are as good as zeros at the end",
            of={"model.zero_padding": "both"},
            than={"model.zero_padding": "end"},
            within=0.25,
            reason=QUARTER_OF_A_POINT,
            over="mean",
        ),
        Claim(
            "Average pooling on the shortcut is as good as taking every second pixel",
            of={**STRIDE, "model.shortcut_pooling": "average"},
            than=SUBSAMPLE,
            within=0.25,
            reason=QUARTER_OF_A_POINT,
        ),
        Claim(
            "Max pooling on the shortcut is as good as taking every second pixel",
            of={**STRIDE, "model.shortcut_pooling": "max"},
            than=SUBSAMPLE,
            within=0.25,
            reason=QUARTER_OF_A_POINT,
        ),
        Claim(
            "Max pooling in front of a unit is as good as its strides",
            of=POOL,
            than=SUBSAMPLE,
            within=0.5,
            reason=HALF_A_POINT,
        ),
    ],
)
