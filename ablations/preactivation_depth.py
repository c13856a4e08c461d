"""What pre-activation gains as networks get deeper, up to 1001 layers, on CIFAR-10 and CIFAR-100."""

from ablations.papers import CIFAR_2016, half, median_2016
from ablations.study import Claim, Grid, Levels, Published, Study, grid

BEFORE, AFTER = "full_preactivation", "original"
PLACEMENTS = [AFTER, BEFORE]


def networks(depth: int, block: str, shortcut: str, data: list[str], seeds: int) -> Grid:
    """One network of the table with both placements."""
    return grid(
        data=data,
        recipe="he2016_cifar",
        model__depth=depth,
        model__block=block,
        model__shortcut=shortcut,
        model__activation=PLACEMENTS,
        seed=range(seeds),
    )


def at(data: str, depth: int, block: str, activation: str) -> Levels:
    """One cell of the table."""
    return {
        "data": data,
        "recipe": "he2016_cifar",
        "model.depth": depth,
        "model.block": block,
        "model.activation": activation,
    }


PAPER = {  # original, pre-activation
    ("cifar10", 110, "single_layer"): (9.90, 8.91),
    ("cifar10", 110, "basic"): (6.61, 6.37),
    ("cifar10", 164, "bottleneck"): (5.93, 5.46),
    ("cifar10", 1001, "bottleneck"): (7.61, 4.92),
    ("cifar100", 164, "bottleneck"): (25.16, 24.33),
    ("cifar100", 1001, "bottleneck"): (27.82, 22.71),
}
CODE: Levels = {
    **at("fb_resnet_torch", 1001, "bottleneck", BEFORE),
    "recipe": "kaiminghe_resnet_1k_layers",
}
"""The authors' code, whose batches have 64 images; the paper prints its number too."""

CODE_DIFFERS = "two GPUs, so that batch normalisation saw 32 images, where our recipe's sees 64"
MEANS = {"cifar10": (4.89, 0.14), "cifar100": (22.68, 0.22)}

STUDY = Study(
    question="How much does pre-activation gain, and does it make 1001 layers worth training?",
    source="arXiv:1603.05027, section 5, Tables 3 and 4",
    base=["model=resnet_cifar"],
    # Three seeds of 1001 layers, where the paper has five runs: they cost more than all others together.
    cells=networks(110, "single_layer", "A", ["cifar10"], 5)
    + networks(110, "basic", "A", ["cifar10"], 5)
    + networks(164, "bottleneck", "B", ["cifar10", "cifar100"], 5)
    + networks(1001, "bottleneck", "B", ["cifar10", "cifar100"], 3)
    + grid({**CODE, "model.shortcut": "B"}, seed=range(3)),
    rows="model.depth",
    columns="model.activation",
    baseline=AFTER,
    published=[
        median_2016(at(*network, activation), error, "Table 3")
        for network, errors in PAPER.items()
        for activation, error in zip(PLACEMENTS, errors, strict=True)
    ]
    + [
        Published(
            at(data, 1001, "bottleneck", BEFORE),
            mean,
            "arXiv:1603.05027, Table 4",
            "mean",
            std,
            5,
            differs=CIFAR_2016,
        )
        for data, (mean, std) in MEANS.items()
    ]
    + [
        median_2016(CODE, 4.62, "Table 4", differs=CODE_DIFFERS),
        Published(CODE, 4.69, "arXiv:1603.05027, Table 4", "mean", 0.20, 5, differs=CODE_DIFFERS),
    ],
    claims=[
        Claim(
            f"Pre-activation is better: {depth} layers ({block.replace('_', ' ')}), {data}",
            of=at(data, depth, block, BEFORE),
            than=at(data, depth, block, AFTER),
            **(half(before, after, "Table 3") if depth == 1001 else {"below": 0}),
            where=f"Table 3: {after} after, {before} before the weights",
        )
        for (data, depth, block), (after, before) in PAPER.items()
    ]
    + [
        Claim(
            f"With pre-activation 1001 layers are better than 164, {data}",
            of=at(data, 1001, "bottleneck", BEFORE),
            than=at(data, 164, "bottleneck", BEFORE),
            below=0,
            where="Table 3",
        )
        for data in MEANS
    ]
    + [
        Claim(
            "1001 layers are better by the authors' code, with batches of 64, than by the paper's recipe, with 128",
            of=CODE,
            than=at("cifar10", 1001, "bottleneck", BEFORE),
            below=0,
            where="Table 4: 4.62 against 4.92",
        )
    ],
)
