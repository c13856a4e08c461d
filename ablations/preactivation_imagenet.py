"""Activation placements on ImageNet: BN after the addition, and what pre-activation gains in 152 and 200 layers."""

from ablations.papers import IMAGENET_2016
from ablations.study import Claim, Levels, Published, Study, grid

BEFORE, AFTER, NORMALISED = "full_preactivation", "original", "bn_after_addition"
CROP_224, LARGE = ("test/error", "test/top5_error"), ("test_crop_320/error", "test_crop_320/top5_error")
TEXT, TABLE = "in the text", "Table 5"
AREAS = f"{IMAGENET_2016}; of its areas and aspects the paper gives a reference, ours are 8 to 100 % and 3:4 to 4:3"


def at(depth: int, activation: str, crop: str = "scale") -> Levels:
    """One network; crop: how training images are cut, at a random scale or as a random area and aspect."""
    return {"model.depth": depth, "model.activation": activation, "data.crop": crop}


PRINTED: list[tuple[Levels, str, tuple[str, str], tuple[float, float]]] = [
    (at(101, AFTER), TEXT, CROP_224, (23.6, 7.1)),
    (at(101, NORMALISED), TEXT, CROP_224, (24.6, 7.5)),
    (at(152, AFTER), TABLE, CROP_224, (23.0, 6.7)),
    (at(152, AFTER), TABLE, LARGE, (21.3, 5.5)),
    (at(152, BEFORE), TABLE, LARGE, (21.1, 5.5)),
    (at(200, AFTER), TABLE, LARGE, (21.8, 6.0)),
    (at(200, BEFORE), TABLE, LARGE, (20.7, 5.3)),
    (at(200, BEFORE, "area"), TABLE, LARGE, (20.1, 4.8)),
]


def better(text: str, of: Levels, than: Levels, where: str) -> Claim:
    """A claim about crops of 320 pixels."""
    return Claim(text, of, than, below=0, metric=LARGE[0], where=f"Table 5: {where}")


STUDY = Study(
    question="Do the placements of batch normalisation and ReLU matter on ImageNet, up to 200 layers?",
    source="arXiv:1603.05027, sections 4 and 5, Table 5",
    base=[
        *("model=resnet_imagenet", "model.block=bottleneck", "model.shortcut=B"),
        *("data=imagenet", "data.final_tests=[crop_320]", "recipe=he2016_imagenet"),
    ],
    cells=grid(model__depth=101, model__activation=[AFTER, NORMALISED], data__crop="scale", seed=range(3))
    + grid(model__depth=[152, 200], model__activation=[AFTER, BEFORE], data__crop="scale", seed=range(3))
    + grid(model__depth=200, model__activation=BEFORE, data__crop="area", seed=range(3)),
    rows="model.depth",
    columns="model.activation",
    baseline=AFTER,
    metric=LARGE[0],
    published=[
        Published(
            levels,
            value,
            f"arXiv:1603.05027, {where}",
            metric=metric,
            differs=AREAS if levels["data.crop"] == "area" else IMAGENET_2016,
        )
        for levels, where, metrics, values in PRINTED
        for metric, value in zip(metrics, values, strict=True)
    ],
    claims=[
        Claim(
            "BN after the addition is worse in ResNet-101",
            of=at(101, NORMALISED),
            than=at(101, AFTER),
            above=0,
            where="in the text: 24.6 against 23.6",
        ),
        better(
            "Pre-activation is better in ResNet-152", at(152, BEFORE), at(152, AFTER), "21.1 against 21.3"
        ),
        better(
            "Pre-activation is better in ResNet-200", at(200, BEFORE), at(200, AFTER), "20.7 against 21.8"
        ),
        better(
            "With pre-activation ResNet-200 is better than ResNet-152",
            at(200, BEFORE),
            at(152, BEFORE),
            "20.7 against 21.1",
        ),
        better(
            "Without pre-activation ResNet-152 is better than ResNet-200",
            at(152, AFTER),
            at(200, AFTER),
            "21.3 against 21.8",
        ),
        Claim(
            "Without pre-activation ResNet-200 fits the training images better than ResNet-152",
            of=at(200, AFTER),
            than=at(152, AFTER),
            below=0,
            metric="train/error",
            where="section 5: it overfits",
        ),
        better(
            "ResNet-200 is better with crops of random area and aspect than of random scale",
            at(200, BEFORE, "area"),
            at(200, BEFORE),
            "20.1 against 20.7",
        ),
    ],
)
