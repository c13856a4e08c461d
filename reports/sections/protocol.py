"""What all cells have in common, what departs from the study, and what else compared cells differ in."""

from __future__ import annotations

from ablations.words import value_text
from reports.numbers.deviations import changes, confounds, more_seeds
from reports.numbers.join import Collected, varies
from reports.pages.document import Block, Code, Section, Table, Text, text_columns
from reports.sources import is_config
from reports.words import listed, series


def protocol(c: Collected) -> Section:
    """What every cell has in common, and what departs from the study."""
    same = [key for key in c.cells.columns if is_config(key) and not varies(c.cells, key)]
    rows = [[Code(key), value_text(c.cells[key].iloc[0])] for key in same]
    blocks: list[Block] = []
    if c.study:
        base = [part for text in c.study.base for part in (Code(text), " ")][:-1]
        blocks.append(Text((f"Source: {c.study.source}. Base: ", *base, ".")))
        deviations = series((Code(key), f" {said}") for key, said in changes(c)) or ["none"]
        blocks.append(Text(("Deviations from the study: ", *deviations, ".")))
        differs = [each for published in c.study.published for each in published.differs.split("; ") if each]
        if differs:
            blocks.append(Text(f"The paper's protocol differs: {'; '.join(dict.fromkeys(differs))}."))
        if part := series(map(Code, c.manifest.narrowed)):
            blocks.append(Text(("Only a part of the study's cells: ", *part, ".")))
        if seeds := more_seeds(c):
            blocks.append(Text(f"More seeds than the study's own: {listed(map(str, seeds))}."))
    blocks.append(Text(("Asked for by ", Code(c.manifest.command), ".")))
    blocks.append(Table("protocol", "What all cells have in common.", text_columns("key", "value"), rows))
    return Section("Protocol and deviations", tuple(blocks), folded=True)


def confounded(c: Collected) -> Section:
    """What else than the studied factors differs between compared cells."""
    rows = []
    for key, value, places in confounds(c):
        shown = "; ".join(places[:6]) + (f"; {len(places) - 6} more" if len(places) > 6 else "")
        rows.append([Code(key), value_text(value), shown])
    if not rows:
        return Section("", ())
    text = (
        "Cells that are compared differ in more than the studied factors. A difference between them may come "
        "from either; the configuration cannot tell which."
    )
    head = text_columns("key", "value", "cells")
    table = Table("confounded", "Keys that differ and are not studied.", head, rows)
    return Section("Confounded comparisons", (Text(text, "warning"), table))
