"""What happens to a network whose shortcuts are anything but the identity."""

from ablations.papers import CIFAR_2016, SPREAD, half, median_2016
from ablations.study import Claim, Grid, Levels, Study, grid

FAIL = f"{CIFAR_2016}; printed as “fail”, an error above 20 %"

IDENTITY = {"model.shortcut_type": "identity", "model.shortcut": "A"}
CONVOLUTION = {"model.shortcut_type": "identity", "model.shortcut": "C"}
DROPOUT = {"model.shortcut_type": "dropout", "model.dropout": 0.5}


def scaling(shortcut: float, residual: float) -> Levels:
    """Constant factors on the two paths; 0 on the shortcut is a plain network."""
    scales = {"model.shortcut_scale": shortcut, "model.residual_scale": residual}
    return {"model.shortcut_type": "constant_scaling", **scales}


def exclusive(bias: int) -> Levels:
    """A gate on both paths, as in highway networks."""
    return {"model.shortcut_type": "exclusive_gating", "model.gate_bias": bias}


def shortcut_only(bias: int) -> Levels:
    """A gate on the shortcut."""
    return {"model.shortcut_type": "shortcut_only_gating", "model.gate_bias": bias}


PRINTED: list[tuple[Levels, float | None]] = [
    (IDENTITY, 6.61),
    (scaling(0, 1), None),
    (scaling(0.5, 1), None),
    (scaling(0.5, 0.5), 12.35),
    *((exclusive(bias), None) for bias in range(0, -6, -1)),
    (exclusive(-6), 8.70),
    (exclusive(-7), 9.81),
    (shortcut_only(0), 12.86),
    (shortcut_only(-6), 6.91),
    (CONVOLUTION, 12.22),
    (DROPOUT, None),
]

AS_GOOD = (IDENTITY, shortcut_only(-6))


def worse(text: str, row: Levels, printed: float) -> Claim:
    """A claim that a row of the table is worse than identity shortcuts."""
    where = f"Table 1: {printed:.2f} against 6.61"
    return Claim(text, of=row, than=IDENTITY, where=where, **half(printed, 6.61, "Table 1"))


def fails(text: str, row: Levels) -> Claim:
    """A claim about a row that the table prints as "fail"."""
    reason = "the paper's: its “fail” is an error above 20 % (Table 1)"
    return Claim(text, of=row, than=IDENTITY, fails=20, reason=reason, where="Table 1: “fail” against 6.61")


STUDY = Study(
    question="Must a shortcut be the identity?",
    source="arXiv:1603.05027, section 3, Table 1",
    base=["model=resnet_cifar", "model.depth=110", "data=cifar10", "recipe=he2016_cifar"],
    cells=sum(
        (grid(row, seed=range(6 if row in AS_GOOD else 5)) for row, _ in PRINTED),
        start=Grid(()),
    ),
    rows="model.shortcut_type",
    baseline=IDENTITY,
    published=[
        median_2016(row, error, "Table 1")
        if error is not None
        else median_2016(row, 20, "Table 1", differs=FAIL, bound="above")
        for row, error in PRINTED
    ],
    claims=[
        worse("Halving both paths is worse", scaling(0.5, 0.5), 12.35),
        fails("Halving the shortcut alone fails", scaling(0.5, 1)),
        fails("No shortcut at all (scale 0) fails", scaling(0, 1)),
        fails("Exclusive gates that begin half open fail", exclusive(0)),
        worse("Exclusive gates with the best bias, −6, are still worse", exclusive(-6), 8.70),
        worse("Shortcut-only gates that begin half open are worse", shortcut_only(0), 12.86),
        Claim(
            "Shortcut-only gates that begin almost open, at −6, are nearly as good",
            of=shortcut_only(-6),
            than=IDENTITY,
            within=0.75,
            reason=f"ours: the 0.30 points that Table 1 prints, and nearly three times {SPREAD}",
            where="Table 1: 6.91 against 6.61",
        ),
        worse("1×1 convolutions are worse", CONVOLUTION, 12.22),
        fails("Dropout on the shortcut fails", DROPOUT),
    ],
)
