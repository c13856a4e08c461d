"""How the papers' protocols differ from our recipes of the same name, in words, for `Published.differs`.

What is the same stands in `conf/recipe`; this is the rest, the same for all numbers of a paper.
"""

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
