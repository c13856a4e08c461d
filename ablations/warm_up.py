"""Is the warm-up of the deep networks needed, and does it matter which of the papers' two it is?"""

from ablations.papers import CIFAR_2015, HALF_A_POINT, QUARTER_OF_A_POINT, median_2016
from ablations.study import Claim, Published, Study, grid


def at(warm_up: str, depth: int) -> dict[str, object]:
    """One network with one kind of warm-up."""
    return {"recipe.warm_up": warm_up, "model.depth": depth}


STUDY = Study(
    question="Does ResNet-110 need its warm-up, and is it the same for 400 steps as until 80 % training error?",
    source="arXiv:1512.03385, section 4.2, footnote 5; arXiv:1603.05027, appendix",
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar", "recipe.warm_up_from_depth=0"],
    cells=grid(recipe__warm_up=["none", "steps", "train_error"], model__depth=[20, 56, 110], seed=range(6)),
    rows="model.depth",
    columns="recipe.warm_up",
    baseline="none",
    published=[
        Published(
            at("train_error", 110),
            6.61,
            "arXiv:1512.03385, Table 6",
            "mean",
            std=0.16,
            runs=5,
            differs=CIFAR_2015,
        ),
        median_2016(at("steps", 110), 6.61, "Table 1"),
        Published(at("none", 20), 8.75, "arXiv:1512.03385, Table 6", differs=CIFAR_2015),
        Published(at("none", 56), 6.97, "arXiv:1512.03385, Table 6", differs=CIFAR_2015),
    ],
    claims=[
        Claim(
            "Without warm-up ResNet-110 reaches about the same error",
            of=at("none", 110),
            than=at("train_error", 110),
            within=0.5,
            reason=HALF_A_POINT,
            where="arXiv:1512.03385, footnote 5: it starts later “but still reaches similar accuracy”",
        ),
        Claim(
            "400 steps are as good as waiting for 80 % training error",
            of={"recipe.warm_up": "steps"},
            than={"recipe.warm_up": "train_error"},
            within=0.25,
            reason=QUARTER_OF_A_POINT,
        ),
        Claim(
            "Up to 56 layers warm-up makes no difference",
            of=at("steps", 56),
            than=at("none", 56),
            within=0.25,
            reason=QUARTER_OF_A_POINT,
            where="arXiv:1512.03385, section 4.2 warms up 110 layers only",
        ),
    ],
)
