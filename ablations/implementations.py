"""Public implementations against the paper: which of their differences matter?

Network, recipe and data of each are put into the paper's protocol one at a time, then all together. Where an
implementation's network is the paper's, key by key, there is nothing to compare of it.
"""

from ablations.papers import CIFAR_2015, HALF_A_POINT, median_2016
from ablations.study import Claim, Grid, Levels, Published, Study, grid
from ablations.words import CODE

DEPTH = 32
ORIGINAL = {"model": "resnet_cifar", "model.activation": "original", "model.depth": DEPTH}
PREACTIVATED = {"model": "resnet_cifar", "model.activation": "full_preactivation", "model.depth": DEPTH}
BOTTLENECKS = {"model": "preact_cifar", "model.activation": "full_preactivation", "model.depth": 164}
IN_2015 = {"recipe": "he2015_cifar", "data": "cifar10"}
IN_2016 = {"recipe": "he2016_cifar", "data": "cifar10"}

# name: (the paper's network, its protocol, whether the network differs, the data)
PUBLIC: dict[str, tuple[Levels, Levels, bool, str]] = {
    "akamaster": (ORIGINAL, IN_2015, True, "akamaster"),
    "fb_resnet_torch": (ORIGINAL, IN_2015, False, "fb_resnet_torch"),
    "ry_tensorflow_resnet": (ORIGINAL, IN_2015, True, "ry_tensorflow_resnet"),
    "tensorpack_cifar": (PREACTIVATED, IN_2016, True, "tensorpack_cifar"),
    "wenxinxu": (PREACTIVATED, IN_2016, True, "wenxinxu"),
    "kaiminghe_resnet_1k_layers": (BOTTLENECKS, IN_2016, False, "fb_resnet_torch"),
}


def parts(name: str) -> dict[str, Levels]:
    """What is put into the paper's protocol -> the cell that has it."""
    paper, protocol, has_network, data = PUBLIC[name]
    network = {"model": name} if has_network else {}
    changes = {"network": network, "recipe": {"recipe": name}, "data": {"data": data}}
    together = network | {"recipe": name, "data": data}
    every = {part: change for part, change in changes.items() if change} | {"all together": together}
    return {part: {**paper, **protocol, **change} for part, change in every.items()}


PAPERS = [{**paper, **protocol} for paper, protocol, *_ in PUBLIC.values()]
PARTS = [levels for name in PUBLIC for levels in parts(name).values()]

STUDY = Study(
    question="Which differences between public implementations and the paper matter?",
    source="the implementations named in conf/model and conf/recipe; arXiv:1512.03385; arXiv:1603.05027",
    base=(),
    cells=sum((grid(levels, seed=range(6)) for levels in [*PAPERS, *PARTS]), start=Grid(())),
    rows="model",
    columns="recipe",
    published=[
        Published({**ORIGINAL, **IN_2015}, 7.51, "arXiv:1512.03385, Table 6", differs=CIFAR_2015),
        median_2016({**BOTTLENECKS, **IN_2016}, 5.46, "Table 4"),
    ],
    claims=[
        Claim(
            f"{CODE[name]}: {part} {'make' if part == 'all together' else 'makes'} no difference to the paper's "
            "protocol",
            of=levels,
            than={**PUBLIC[name][0], **PUBLIC[name][1]},
            within=0.5,
            reason=HALF_A_POINT,
        )
        for name in PUBLIC
        for part, levels in parts(name).items()
    ],
)
