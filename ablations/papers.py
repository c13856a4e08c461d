"""What the studies that repeat a paper share.

How its protocol differs from our recipe of the same name, in words, for `Published.differs`: what is the same stands in
`conf/recipe`; this is the rest, the same for all numbers of a paper. And what margins of claims rest on, for
`Claim.reason`.
"""

import math
from typing import Any

from ablations.study import Levels, Published

CIFAR_2015 = (
    "two GPUs, so that batch normalisation saw 64 images, where our recipe's sees 128; the paper leaves open "
    "whether its last networks were trained on all 50,000 images or on 45,000 of them, and our recipe trains on all"
)
"""arXiv:1512.03385, section 4.2."""

CIFAR_2016 = "two GPUs, so that batch normalisation saw 64 images, where our recipe's sees 128"
"""arXiv:1603.05027, appendix."""

IMAGENET_2015 = (
    "learning rate divided by 10 by hand, when the error stopped falling, where our recipe drops it every "
    "150,000 steps; eight GPUs, so that batch normalisation saw 32 images, where our recipe's sees 256; the mean image "
    "subtracted, where our recipe takes the mean colour"
)
"""arXiv:1512.03385, section 3.4."""

RELEASE_2016 = (
    f"{IMAGENET_2015}; batch normalisation tests with averages over training images, where our recipe's tests with "
    "moving averages (recipe.bn_statistics=precise does as the authors)"
)
"""github.com/KaimingHe/deep-residual-networks, the authors' release of the networks of arXiv:1512.03385."""

IMAGENET_2016 = (
    "eight GPUs, so that batch normalisation saw 32 images, where our recipe's sees 256; the mean image subtracted, "
    "where our recipe takes the mean colour; the paper leaves open where training ends, our recipe after 90 epochs"
)
"""arXiv:1603.05027, appendix."""

SPREAD = "the standard deviation of 0.16 that arXiv:1512.03385, Table 6, gives for five runs of ResNet-110"

HALF_A_POINT = f"ours: three times {SPREAD}"
QUARTER_OF_A_POINT = f"ours: one and a half times {SPREAD}"


def half(of: float, than: float, where: str) -> dict[str, Any]:
    """The margin of a claim that two printed errors differ: half of their difference, rounded down to whole points.

    Half, because a claim of the whole difference would come out wrong every other time where the paper is right.
    """
    reason = f"ours: half of the {abs(of - than):.2f} points of {where}, rounded down"
    return {"above" if of > than else "below": math.floor(abs(of - than) / 2), "reason": reason}


def median_2016(levels: Levels, error: float, where: str, **more: Any) -> Published:
    """An error of arXiv:1603.05027 on CIFAR, which is the median of five runs."""
    told = {"differs": CIFAR_2016, **more}
    return Published(levels, error, f"arXiv:1603.05027, {where}", "median", runs=5, **told)


def at(shortcut: str, depth: int) -> Levels:
    """The levels of a network as arXiv:1512.03385 names it: its shortcuts ("none": plain) and its layers."""
    return {"model.shortcut": shortcut, "model.depth": depth}
