"""One table on four kinds of page: what is cut off is said, and a file holds all of it."""

from __future__ import annotations

import re
from dataclasses import replace

from ablations.verdicts.statistics import Estimate
from reports.pages.csv import csv_table
from reports.pages.document import Column, Report, Section, Table
from reports.pages.html import html
from reports.pages.latex import latex_table
from reports.pages.markdown import markdown
from reports.pages.printed import SHOWN

ONE = Estimate(1, 9.25, planned=2)


def table(rows: int) -> Table:
    columns = (Column("name | of 100 %", left=True), Column("error, %", 2), Column("paper"))
    return Table("groups", "A caption.", columns, [["a_b", ONE, None]] * rows, note="† few.")


def pages(made: Table) -> dict[str, str]:
    report = Report("r", "Title", "status", False, (Section("S", (made,)),))
    return {"markdown": markdown(report), "html": html(report), "latex": latex_table(made)}


def test_only_the_first_rows_are_printed_and_the_others_are_named() -> None:
    for kind, text in pages(table(SHOWN + 2)).items():
        assert text.count("9.25") == SHOWN, kind
        assert "A caption. † few. 2 more rows in tables/groups.csv." in text.replace(r"$^\dagger$", "†"), kind
    for kind, text in pages(table(SHOWN)).items():
        assert "more rows" not in text, kind
    assert csv_table(table(SHOWN + 2)).count("\n") == SHOWN + 3


def test_a_card_says_of_every_value_which_column_it_is_and_shows_no_hole() -> None:
    text = pages(replace(table(1), cards=True))["html"]
    labels = ["name | of 100 %", "error, %", "paper"]
    assert re.findall(
        r'<td class="(\w*)" data-label="([^"]+)">', text.replace("<td data", '<td class="" data')
    ) == [*zip(["left", "", "hole"], labels, strict=True)]


def test_each_kind_spells_what_it_has_to() -> None:
    text = pages(table(1))
    assert "| name \\| of 100 % | error, % | paper |\n|:--|--:|--:|\n| a_b | 9.25† | – |" in text["markdown"]
    assert '<td class="left">a_b</td><td>9.25<span class="mark">†</span></td><td>–</td>' in text["html"]
    assert r"a\_b & 9.25$^\dagger$ & -- \\" in text["latex"]
    assert csv_table(table(1)).splitlines() == [
        'name | of 100 %,"error, % mean","error, % sd","error, % n","error, % low","error, % high",'
        '"error, % diverged",paper',
        "a_b,9.25,,1,,,0,",
    ]
