"""A figure as an SVG file of its own: legend above panels, two in a row, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from reports.pages.document import Figure
from reports.pages.svg import HEIGHT, WIDTH, escaped, text_width


@cache
def template(name: str) -> str:
    """The text of a file in templates/, without white space around it."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8").strip()


def figure_svg(figure: Figure) -> str:
    """The content of the file."""
    across, panel_height = min(len(figure.panels), 2), figure.height or HEIGHT
    width = across * WIDTH
    legend = legend_rows(figure.legend, width - 60)
    top = 8 + 20 * len(legend)
    height = top + -(-len(figure.panels) // across) * panel_height
    parts = [
        f'<g transform="translate({50 + x:.1f} {8 + 20 * line})">{key}'
        f'<text class="t" x="32" y="11">{escaped(text)}</text></g>'
        for line, row in enumerate(legend)
        for x, text, key in row
    ]
    for index, panel in enumerate(figure.panels):
        x, y = index % across * WIDTH, index // across * panel_height + top
        parts.append(f'<g transform="translate({x} {y})">{panel}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">\n<title>{escaped(figure.caption)}</title>\n'
        f"<style>{template('colours.css')}\n{template('figure.css')}</style>\n"
        '<rect width="100%" height="100%" fill="var(--paper)"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def legend_rows(legend: Sequence[tuple[str, str]], width: float) -> list[list[tuple[float, str, str]]]:
    """Legend entries (text, key) laid out in rows of this width in px: (x, text, key)."""
    rows: list[list[tuple[float, str, str]]] = []
    x = 0.0
    for text, key in legend:
        need = 26 + 6 + text_width(text) + 18
        if not rows or x + need > width:
            rows.append([])
            x = 0.0
        rows[-1].append((x, text, key))
        x += need
    return rows
