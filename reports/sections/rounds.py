"""What a report says of a sweep that ran in rounds, until its claims were settled."""

from __future__ import annotations

from ablations.sweep.rounds import Round
from ablations.verdicts.results import NOT_NEEDED
from lightning_module.support.text import counted
from reports.numbers.join import Collected
from reports.pages.document import Column, Table, Text, text_columns
from reports.words import HOUR, number, time_unit


def left_out(c: Collected) -> str:
    """Why a cell that no claim needed has no number."""
    return f"left out: settle ended after round {len(_rounds(c))}"


def settled(c: Collected) -> list[Text]:
    """Above the answer: that not all seeds ran, and why that is no reservation about the verdicts.

    Nothing, once somebody ran what was left out.
    """
    chosen = {name for each in c.manifest.rounds for name in each["cells"]}
    left = c.cells["state"].eq(NOT_NEEDED).any()
    if not c.manifest.rounds or not c.manifest.rounds[-1]["end"] or not (left or len(chosen) == len(c.cells)):
        return []
    last, count = c.manifest.rounds[-1], len(_rounds(c))
    unit, length = time_unit(last["whole"] * HOUR)
    used, whole = (number(last[key] * HOUR / length, 1) for key in ("used", "whole"))
    return [
        Text(
            f"Run in {counted(count, 'round')} until no claim was open (settle), in {used} of the {whole} "
            f"device-{unit} that all seeds would take: {last['end']}. Verdicts hold at any look, and so at this one.",
            "note",
        )
    ]


def seed_threats(c: Collected) -> list[str]:
    """What choosing seeds by what is undecided does to numbers that are not verdicts."""
    if not c.manifest.rounds:
        return []
    return [
        "Seeds were added where claims were undecided (settle). Verdicts hold at any look; means and intervals that "
        "are no verdicts are those of a sweep that may have stopped where a difference looked large."
    ]


def rounds_table(c: Collected) -> list[Table]:
    """Every round as it was decided."""
    rows: list[list[object]] = []
    for each in map(Round.from_json, c.manifest.rounds):
        counts = [each.number, len(each.open), len(each.cells)]
        rows.append([*counts, each.expected, each.used, each.end or None])
    columns = [Column("round"), Column("claims open"), Column("cells"), Column("expected, device-hours", 3)]
    columns += [Column("used before, device-hours", 3), *text_columns("end")]
    caption = "Rounds of settle: what was decided before each, from the records alone."
    return [Table("rounds", caption, columns, rows)] if rows else []


def _rounds(c: Collected) -> list[object]:
    return [each for each in c.manifest.rounds if not each["end"]]
