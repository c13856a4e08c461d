"""Depth on ImageNet: plain networks against residual ones, and on to 152 layers."""

from typing import Any

from ablations.papers import IMAGENET_2015, RELEASE_2016, half
from ablations.study import Claim, Published, Study, grid

ERROR, TOP5 = "test_ten_crop/error", "test_ten_crop/top5_error"
SCALES = ("test_multi_scale/error", "test_multi_scale/top5_error")
Network = tuple[str, int]

TEN_CROP: dict[Network, tuple[str, float, float | None]] = {
    ("none", 18): ("Table 2", 27.94, None),
    ("none", 34): ("Table 2 and 3", 28.54, 10.02),
    ("A", 18): ("Table 2", 27.88, None),
    ("A", 34): ("Table 2 and 3", 25.03, 7.76),
    ("B", 34): ("Table 3", 24.52, 7.46),
    ("B", 50): ("Table 3", 22.85, 6.71),
    ("B", 101): ("Table 3", 21.75, 6.05),
    ("B", 152): ("Table 3", 21.43, 5.71),
}
CENTRE = {("none", 18): 31.4, ("none", 34): 32.6, ("A", 18): 31.1, ("A", 34): 28.2}
RELEASED = {("B", 50): (24.7, 7.8), ("B", 101): (23.6, 7.1), ("B", 152): (23.0, 6.7)}
MULTI_SCALE = {
    ("B", 34): (21.84, 5.71),
    ("B", 50): (20.74, 5.25),
    ("B", 101): (19.87, 4.60),
    ("B", 152): (19.38, 4.49),
}


def at(network: Network) -> dict[str, object]:
    """One network of the tables."""
    return {"model.shortcut": network[0], "model.depth": network[1]}


def better(deep: Network, shallow: Network, text: str, **margin: Any) -> Claim:
    """A claim about two networks; better at all without a margin."""
    printed = f"Tables 2 and 3: {TEN_CROP[deep][1]} against {TEN_CROP[shallow][1]}"
    return Claim(text, at(deep), at(shallow), metric=ERROR, where=printed, **(margin or {"below": 0}))


STUDY = Study(
    question="Do residual networks get better with depth on ImageNet, where plain ones get worse?",
    source="arXiv:1512.03385, section 4.1, Tables 2 to 4, Fig. 4",
    base=["model=resnet_imagenet", "data=imagenet", "recipe=he2015_imagenet"],
    # Three seeds are too few to say that two networks are as good: that claim stays undecided until more are asked for.
    cells=grid(model__shortcut=["none", "A"], model__depth=[18, 34], model__block="basic", seed=range(3))
    + grid(model__shortcut="B", model__depth=34, model__block="basic", seed=range(3))
    + grid(model__shortcut="B", model__depth=[50, 101, 152], model__block="bottleneck", seed=range(3)),
    rows="model.depth",
    columns="model.shortcut",
    baseline="A",
    metric=ERROR,
    published=[
        Published(at(network), value, f"arXiv:1512.03385, {table}", metric=metric, differs=IMAGENET_2015)
        for network, (table, *values) in TEN_CROP.items()
        for value, metric in zip(values, (ERROR, TOP5), strict=True)
        if value is not None
    ]
    + [
        Published(
            at(network), value, "arXiv:1512.03385, Fig. 4, digitised, at its end", differs=IMAGENET_2015
        )
        for network, value in CENTRE.items()
    ]
    + [
        Published(at(network), value, "arXiv:1512.03385, Table 4", metric=metric, differs=IMAGENET_2015)
        for network, values in MULTI_SCALE.items()
        for value, metric in zip(values, SCALES, strict=True)
    ]
    + [
        Published(
            at(network),
            value,
            "github.com/KaimingHe/deep-residual-networks, 1-crop",
            metric=metric,
            differs=RELEASE_2016,
        )
        for network, values in RELEASED.items()
        for value, metric in zip(values, ("test/error", "test/top5_error"), strict=True)
    ],
    claims=[
        Claim(
            "plain-34 is worse than plain-18",
            at(("none", 34)),
            at(("none", 18)),
            above=0,
            metric=ERROR,
            where="Table 2: 28.54 against 27.94",
        ),
        Claim(
            "18 layers are as good with shortcuts as without",
            at(("A", 18)),
            at(("none", 18)),
            within=1,
            reason="ours: less than a third of the 3.51 points that shortcuts gain at 34 layers in Table 2",
            metric=ERROR,
            where="Table 2: 27.88 against 27.94",
        ),
        better(("A", 34), ("A", 18), "ResNet-34 is better than ResNet-18", **half(25.03, 27.88, "Table 2")),
        better(("A", 34), ("none", 34), "ResNet-34 is better than plain-34", **half(25.03, 28.54, "Table 2")),
        better(("B", 50), ("B", 34), "ResNet-50 is better than ResNet-34"),
        better(("B", 101), ("B", 50), "ResNet-101 is better than ResNet-50"),
        better(("B", 152), ("B", 101), "ResNet-152 is better than ResNet-101"),
    ],
)
