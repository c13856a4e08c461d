"""A figure as a file: its legend fits, and every panel has its place."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

from reports.pages.document import Figure
from reports.pages.figure import figure_svg, legend_rows
from reports.pages.svg import HEIGHT, WIDTH


def test_a_legend_is_broken_into_rows_that_fit() -> None:
    legend = [(f"entry {i}", f"key {i}") for i in range(20)]
    rows = legend_rows(legend, 400)
    assert [(text, key) for row in rows for _, text, key in row] == legend
    assert len(rows) > 1
    for row in rows:
        assert row[0][0] == 0
        assert all(a[0] < b[0] < 400 for a, b in pairwise(row))
    assert len(legend_rows([("x" * 500, "")], 400)) == 1, "what is too long has a row of its own"
    assert legend_rows([], 400) == []


def test_panels_stand_two_in_a_row_below_the_legend() -> None:
    def box(count: int, **more: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
        text = figure_svg(Figure("f", "a < b", ("<g/>",) * count, (("label", "<g/>"),), **more))
        ElementTree.fromstring(text)
        size = re.search(r'width="(\d+)" height="(\d+)"', text)
        assert size is not None
        places = re.findall(r'<g transform="translate\((\d+) (\d+)\)">', text)
        return (int(size[1]), int(size[2])), [(int(x), int(y)) for x, y in places]

    assert box(1) == ((WIDTH, HEIGHT + 28), [(0, 28)])
    assert box(3) == (
        (2 * WIDTH, 2 * HEIGHT + 28),
        [(0, 28), (WIDTH, 28), (0, HEIGHT + 28)],
    )
    assert box(1, height=90) == ((WIDTH, 90 + 28), [(0, 28)])
