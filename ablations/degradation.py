"""The degradation problem: deeper plain networks are worse, also on the images that they are trained on."""

from ablations.papers import CIFAR_2015, HALF_A_POINT, at, half
from ablations.study import Claim, Published, Study, grid

FIGURE = "arXiv:1512.03385, Fig. 6, digitised, at 64k steps"
TRAINING = "arXiv:1512.03385, Fig. 6, digitised, mean of 50k to 64k steps"
TABLE = "arXiv:1512.03385, Table 6"
SMOOTH = f"{CIFAR_2015}; read off a curve that is drawn while training goes on"
PLAIN = {20: (9.68, 1.33), 32: (10.12, 1.50), 44: (11.38, 2.82), 56: (13.24, 5.80)}
RESIDUAL = {20: (8.84, 0.71), 32: (7.53, 0.31), 44: (7.19, 0.20), 56: (6.98, 0.14)}
PRINTED = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97}

STUDY = Study(
    question="Do plain networks get worse with depth, and do shortcuts cure it?",
    source="arXiv:1512.03385, section 4.2, Fig. 6",
    base=["model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"],
    cells=grid(model__shortcut=["none", "A"], model__depth=[20, 32, 44, 56, 110], seed=range(5)),
    rows="model.depth",
    columns="model.shortcut",
    baseline="none",
    published=[
        *(Published(at("A", depth), error, TABLE, differs=CIFAR_2015) for depth, error in PRINTED.items()),
        Published(at("A", 110), 6.61, TABLE, "mean", std=0.16, runs=5, differs=CIFAR_2015),
        Published(
            at("none", 110), 60, "arXiv:1512.03385, caption of Fig. 6", bound="above", differs=CIFAR_2015
        ),
        *(
            Published(at(shortcut, depth), value, where, metric=metric, differs=SMOOTH)
            for shortcut, figure in (("none", PLAIN), ("A", RESIDUAL))
            for depth, values in figure.items()
            for value, where, metric in zip(
                values, (FIGURE, TRAINING), ("test/error", "train/error"), strict=True
            )
        ),
    ],
    claims=[
        Claim(
            "plain-56 is worse than plain-20",
            at("none", 56),
            at("none", 20),
            **half(PLAIN[56][0], PLAIN[20][0], "Fig. 6"),
            where="Fig. 6, left",
        ),
        Claim(
            "plain-56 is worse than plain-20 on the training images too",
            at("none", 56),
            at("none", 20),
            above=0,
            metric="train/error",
            where="Fig. 6, left: it is not overfitting",
        ),
        Claim(
            "plain-110 is far worse than plain-56",
            at("none", 110),
            at("none", 56),
            **half(60, PLAIN[56][0], "Fig. 6, whose caption has plain-110 above 60 %"),
            where="Fig. 6",
        ),
        Claim(
            "ResNet-56 is better than ResNet-20",
            at("A", 56),
            at("A", 20),
            below=0.5,
            reason=HALF_A_POINT,
            where="Fig. 6, middle",
        ),
        Claim("ResNet-110 is better than ResNet-56", at("A", 110), at("A", 56), below=0, where="Table 6"),
        Claim("ResNet-20 is better than plain-20", at("A", 20), at("none", 20), below=0, where="Fig. 6"),
        Claim(
            "ResNet-56 is far better than plain-56",
            at("A", 56),
            at("none", 56),
            **half(RESIDUAL[56][0], PLAIN[56][0], "Fig. 6"),
            where="Fig. 6",
        ),
    ],
)
