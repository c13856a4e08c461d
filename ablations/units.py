"""What the two residual units of arXiv:1512.03385, Fig. 5, cost, counted in the networks that are trained."""

from lightning_module.networks.cost import unit_cost
from lightning_module.support.text import aligned

BASIC, BOTTLENECK, WIDE = ("basic", 64), ("bottleneck", 256), ("basic", 256)
"""Block and channels; the figure has the first two."""


def text() -> str:
    """The table, and what it says."""
    costs = {unit: unit_cost(*unit) for unit in (BASIC, BOTTLENECK, WIDE)}
    lines = [("unit", "channels", "weights", "multiply-adds per position")]
    for (block, channels), (weights, multiply_adds) in costs.items():
        lines.append((block, str(channels), f"{weights:,}", f"{multiply_adds:,}"))
    similar, wide = (costs[unit][0] / costs[BOTTLENECK][0] for unit in (BASIC, WIDE))
    return "\n".join(
        [
            *aligned(lines, right={1, 2, 3}),
            "",
            "Channels are those of a unit's input and output; its shortcut is the identity.",
            f"arXiv:1512.03385, Fig. 5, sets the first two side by side: {similar:.2f} times the weights.",
            f"At 256 channels a basic unit has {wide:.2f} times the weights of a bottleneck.",
        ]
    )
