"""Basic units, bottlenecks and units of one layer, at equal depth and at equal multiply-adds."""

from ablations.papers import CIFAR_2016, HALF_A_POINT, half, median_2016
from ablations.study import Claim, Study, grid

PROJECTION = f"{CIFAR_2016}; projections where dimensions change (B)"


def at(block: str, depth: int) -> dict[str, object]:
    """One network of the comparison."""
    return {"model.block": block, "model.depth": depth}


STUDY = Study(
    question="Which residual function is best: two 3×3 layers, a bottleneck of three layers, or one layer?",
    source="arXiv:1512.03385, section 4.1 (bottlenecks); arXiv:1603.05027, Tables 2 and 3",
    # Zero padding for all of them: the papers' bottlenecks have projections, a second difference.
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2016_cifar", "model.shortcut=A"],
    # 56 and 110 layers of every kind; bottlenecks of 83 and 164 layers have the multiply-adds of 56 and
    # 110 others (119 and 239 million against 125 and 253).
    cells=grid(model__block=["basic", "bottleneck"], model__depth=[56, 110], seed=range(6))
    + grid(model__block="single_layer", model__depth=[56, 110], seed=range(5))
    + grid(model__block="bottleneck", model__depth=[83, 164], seed=range(5)),
    rows="model.depth",
    columns="model.block",
    baseline="basic",
    published=[
        median_2016(at("basic", 110), 6.61, "Table 3"),
        median_2016(at("single_layer", 110), 9.90, "Table 3"),
        median_2016(at("bottleneck", 164), 5.93, "Table 3", differs=PROJECTION),
    ],
    claims=[
        Claim(
            "A bottleneck network of 164 layers beats a basic one of 110, at equal multiply-adds",
            of=at("bottleneck", 164),
            than=at("basic", 110),
            below=0,
            where="Table 3: 5.93 against 6.61",
        ),
        Claim(
            "A bottleneck network of 83 layers beats a basic one of 56, at equal multiply-adds",
            of=at("bottleneck", 83),
            than=at("basic", 56),
            below=0,
        ),
        Claim(
            "At equal depth bottlenecks are as good as basic units, at 63 % of the multiply-adds",
            of={"model.block": "bottleneck"},
            than={"model.block": "basic"},
            within=0.5,
            reason=HALF_A_POINT,
        ),
        Claim(
            "One layer per unit is worse than two, at 110 layers and equal multiply-adds",
            of=at("single_layer", 110),
            than=at("basic", 110),
            **half(9.90, 6.61, "Table 3"),
            where="Table 3: 9.90 against 6.61",
        ),
    ],
)
