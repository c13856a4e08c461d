"""Plots as SVG text: deterministic, small, and with a title on every mark for those who hover.

No plotting library: it would cost a second of import, embed random ids, and know nothing of hovering. Marks
carry classes only (s0 ... s6 for series); colours, light and dark, are in templates/figure.css.
"""

from __future__ import annotations

import html
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from textwrap import wrap
from typing import ClassVar

from lightning_module.support.text import visible

SERIES = 7
"""Series that can be told apart: by colour (Okabe and Ito's, safe for the colour-blind) and by shape."""

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 30, 46
_EDGE = WIDTH - _RIGHT

_KEY = 13
"""Px of a line of a legend inside a plot."""


def room_for_keys(top: float, lines: int) -> float:
    """The upper end of an axis from zero that leaves room above `top` for such a legend."""
    return top / (1 - _KEY * lines / (HEIGHT - _TOP - _BOTTOM))


def escaped(text: str, quote: bool = True) -> str:
    """Text for SVG and HTML, where a tag is not meant; quote: in an attribute it may stand too."""
    return html.escape(visible(text), quote)


def text_width(text: str) -> float:
    """Width in px at 12 px, estimated from the mean of a character, for deciding what fits."""
    return 6.4 * len(text)


@dataclass(frozen=True)
class Axis:
    """A scale and its ticks: (value, text)."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def fraction(self, value: float) -> float:
        """Where a value lies between low (0) and high (1)."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(label: str, low: float, high: float, count: int = 5) -> Axis:
    """An axis from low to high with about `count` round ticks."""
    if high - low <= max(1e-100, 1e-12 * abs(low)):  # less than floats can tell apart
        high = low + max(1, abs(low))
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) + (step / power == 2.5 and power <= 1)
    values = [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return Axis(label, low, high, [(value, f"{value:,.{decimals}f}") for value in values])


def logarithmic(label: str, low: float, high: float) -> Axis:
    """A logarithmic axis with ticks at 1, 2 and 5 times the powers of ten, or at more if fewer than three fit."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        values = [f * 10.0**power for power in powers for f in factors if low <= f * 10.0**power <= high]
        if len(values) >= 3:
            return Axis(label, low, high, [(value, f"{value:g}") for value in values], log=True)
    return replace(linear(label, low, high), log=True)


@dataclass
class _Plot(ABC):
    """A plot under construction: marks stand at a place, in px along one axis, and show a value on the other."""

    title: str
    x: Axis
    marks: list[str] = field(default_factory=list, init=False)
    left: float = field(default=_LEFT, init=False)
    height: int = field(default=HEIGHT, init=False)
    across: ClassVar[bool]  # whether values run along the x axis
    seed_shift: ClassVar[int]  # px between the mark of a mean and those of its seeds

    @property
    def bottom(self) -> int:
        """Px of the x axis."""
        return self.height - _BOTTOM

    @property
    def _edges(self) -> tuple[float, float]:
        return (self.left, _EDGE) if self.across else (_TOP, self.bottom)

    def px(self, value: float) -> float:
        """x value -> px."""
        return self.left + self.x.fraction(value) * (_EDGE - self.left)

    def scale(self, value: float) -> float:
        """A value of a mark -> px."""
        return self.px(value)

    def marker(self, at: float, value: float, series: int, tip: str, small: bool = False) -> None:
        """A value at `at` px; small: one seed."""
        px = self.scale(value)
        if self._edges[0] <= px <= self._edges[1]:
            style = f"m s{series % SERIES}" + (" seed" if small else "")
            spot = (px, at) if self.across else (at, px)
            self.marks.append(_titled(shape(*spot, series, 2.6 if small else 4.6), style, tip))

    def cross(self, at: float, series: int, tip: str) -> None:
        """A run without a value, at the upper or right edge."""
        corner = f"{_EDGE - 11} {at - 4:.1f}" if self.across else f"{at - 4:.1f} {_TOP + 3}"
        self.marks.append(_titled(f'<path d="M{corner}l8 8m0 -8l-8 8"/>', f"l s{series % SERIES}", tip))

    def bar(self, at: float, low: float, high: float, series: int) -> None:
        """An interval at `at` px; without a cap where it goes on outside; nothing where there is none."""
        if math.isnan(low):
            return
        ends = sorted((self.scale(low), self.scale(high)))
        start, end = max(ends[0], self._edges[0]), min(ends[1], self._edges[1])
        caps = [px for px in ends if start <= px <= end]
        if self.across:
            path = f"M{start:.1f} {at:.1f}H{end:.1f}" + "".join(f"M{x:.1f} {at - 4:.1f}v8" for x in caps)
        else:
            path = f"M{at:.1f} {start:.1f}V{end:.1f}" + "".join(f"M{at - 4:.1f} {y:.1f}h8" for y in caps)
        self.marks.append(f'<path class="l s{series % SERIES}" d="{path}"/>')

    def svg(self) -> str:
        """The plot as SVG content, WIDTH × height."""
        left, middle = f"{self.left:.1f}" if self.across else f"{self.left}", (self.left + _EDGE) / 2
        title = f'<text class="t title" x="{left}" y="17">{escaped(self.title)}</text>'
        axis = f'<path class="axis" d="M{left} {self.bottom}H{_EDGE}"/>'
        name = f'<text class="t mid" x="{middle:.1f}" y="{self.height - 8}">{escaped(self.x.label)}</text>'
        return "\n".join([title, *self._grid(), axis, name, *self._inside()])

    def _below(self, x: float, text: str) -> str:
        """The text of a tick of the x axis, none of it beyond the edge of the picture."""
        middle = min(x, WIDTH - 2 - text_width(text) / 2)
        return f'<text class="t mid" x="{middle:.1f}" y="{self.bottom + 18}">{escaped(text)}</text>'

    @abstractmethod
    def _grid(self) -> Iterator[str]:
        """Ticks, their texts and the lines that marks are read by."""

    def _inside(self) -> list[str]:
        return self.marks


@dataclass
class Panel(_Plot):
    """A plot with values upwards."""

    y: Axis
    across, seed_shift = False, 6

    def scale(self, value: float) -> float:
        """y value -> px; values outside are left to the clip."""
        return self.bottom - self.y.fraction(value) * (self.bottom - _TOP)

    def label(self, x: float, value: float, text: str) -> None:
        """A word above a mark at `x` px, none of it beyond the top."""
        y = max(self.scale(value) - 8, _TOP + 8)
        self.marks.append(f'<text class="t small mid" x="{x:.1f}" y="{y:.1f}">{escaped(text)}</text>')

    def line(self, points: Sequence[tuple[float, float]], series: int, tip: str, style: str = "") -> None:
        """A curve through (x, value) with its name; style: "dashed" or none."""
        self._polyline([(self.px(x), y) for x, y in points], series, style, tip)

    def connect(self, spots: Sequence[tuple[float, float]], series: int) -> None:
        """A faint line through marks at (px, value)."""
        self._polyline(spots, series, "faint", "")

    def _polyline(self, spots: Sequence[tuple[float, float]], series: int, style: str, tip: str) -> None:
        drawn = [(x, self.scale(value)) for x, value in spots if math.isfinite(value)]
        if len(drawn) > 1:
            text = " ".join(f"{x:.1f},{min(max(y, -999), 9999):.1f}" for x, y in drawn)
            classes = f"l s{series % SERIES} {style}".strip()
            self.marks.append(_titled(f'<polyline points="{text}"/>', classes, tip, curve=bool(tip)))

    def rule(self, x: float, text: str) -> None:
        """A vertical rule at an x value, with a word at its top."""
        at = self.px(x)
        self.marks.append(f'<path class="rule" d="M{at:.1f} {_TOP}V{self.bottom}"/>')
        self.marks.append(f'<text class="t small" x="{at + 3:.1f}" y="{_TOP + 10}">{escaped(text)}</text>')

    def key(self, series: int, text: str) -> None:
        """A line of a legend of its own, in the upper right corner, where curves that fall leave room."""
        y, end = _TOP + 11 + _KEY * series, _EDGE - 4
        line = f'<path class="l s{series % SERIES}" d="M{end - 18} {y - 3}h18"/>'
        halo = 'style="paint-order:stroke;stroke:var(--paper);stroke-width:3px"'
        self.marks.append(
            f'{line}<text class="t small end" {halo} x="{end - 24}" y="{y}">{escaped(text)}</text>'
        )

    def _grid(self) -> Iterator[str]:
        for value, text in self.y.ticks:
            y = self.scale(value)
            yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_EDGE}"/>'
            yield f'<text class="t end" x="{_LEFT - 7}" y="{y + 4:.1f}">{escaped(text)}</text>'
        reach = -math.inf
        for value, text in self.x.ticks:
            x, half = self.px(value), text_width(text) / 2
            yield f'<path class="axis" d="M{x:.1f} {self.bottom}v4"/>'
            if x - half > reach:
                reach = x + half + 5
                yield self._below(x, text)

    def _inside(self) -> list[str]:
        """The marks, cut off at the axes; the data attributes let the page turn px back into values."""
        y, width, height = (_TOP + self.bottom) / 2, _EDGE - _LEFT, self.bottom - _TOP
        turn = f'transform="translate(12 {y:.1f}) rotate(-90)"'
        box = f'x="{_LEFT}" y="{_TOP}" width="{width}" height="{height}"'
        scale = f'data-x="{self.x.low:g} {self.x.high:g}" data-y="{self.y.low:g} {self.y.high:g}"'
        names = f'data-names="{escaped(self.x.label)}|{escaped(self.y.label)}"'
        name = f'<text class="t mid" {turn}>{escaped(self.y.label)}</text>'
        view = f'<svg {box} viewBox="{_LEFT} {_TOP} {width} {height}" {scale} {names}>'
        return [name, view, *self.marks, "</svg>"]


@dataclass
class RowPanel(_Plot):
    """A plot with a row per label, of two lines of 30 characters, and values to the right; as high as it needs.

    series: how many stand in each row.
    """

    labels: Sequence[str]
    series: Sequence[int] = ()
    across, seed_shift = True, 5

    def __post_init__(self) -> None:
        self._wrapped = [wrap(text, 30, max_lines=2, placeholder=" …") or [""] for text in self.labels]
        lines = max(map(len, self._wrapped))
        self._heights = [
            max(14 * lines + 6, 11 * count + 8, 22) for count in self.series or [1] * len(self.labels)
        ]
        self.left = 14 + 1.15 * max(text_width(line) for lines in self._wrapped for line in lines)
        self.height = _TOP + sum(self._heights) + _BOTTOM

    def _middle(self, row: int) -> float:
        return _TOP + sum(self._heights[:row]) + self._heights[row] / 2

    def py(self, row: int, mark: int) -> float:
        """The height in px at which a mark stands in a row, the first one on top."""
        return self._middle(row) + 11 * (mark - (self.series[row] - 1) / 2)

    def _grid(self) -> Iterator[str]:
        for row, lines in enumerate(self._wrapped):
            middle = self._middle(row)
            yield f'<path class="grid" d="M{self.left:.1f} {middle:.1f}H{_EDGE}"/>'
            for number, line in enumerate(lines):
                y = middle + 4 + 14 * (number - (len(lines) - 1) / 2)
                yield f'<text class="t end" x="{self.left - 8:.1f}" y="{y:.1f}">{escaped(line)}</text>'
        for value, text in self.x.ticks:
            x = self.px(value)
            yield f'<path class="grid" d="M{x:.1f} {_TOP}V{self.bottom}"/>'
            yield self._below(x, text)


def shape(x: float, y: float, series: int, r: float) -> str:
    """The marker of a series, centred at (x, y)."""
    if series % SERIES == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
    d = round(1.4 * r, 1)
    outline = {
        1: f"m{-r} {-r}h{2 * r}v{2 * r}h{-2 * r}z",
        2: f"m0 {-1.3 * r:.1f}l{1.2 * r:.1f} {2.2 * r:.1f}h{-2.4 * r:.1f}z",
        3: f"m0 {-d}l{d} {d}l{-d} {d}l{-d} {-d}z",
        4: f"m0 {1.3 * r:.1f}l{1.2 * r:.1f} {-2.2 * r:.1f}h{-2.4 * r:.1f}z",
        5: f"m{-1.3 * r:.1f} {-r / 2}h{2.6 * r:.1f}v{r}h{-2.6 * r:.1f}z",
        6: f"m{-r / 2} {-1.3 * r:.1f}h{r}v{2.6 * r:.1f}h{-r}z",
    }[series % SERIES]
    return f'<path d="M{x:.1f} {y:.1f}{outline}"/>'


def swatch(series: int, kind: str = "marker") -> str:
    """A 26 × 14 legend key. kind: marker, line, dashed or cross."""
    style = f"s{series % SERIES}"
    if kind == "cross":
        return '<path class="l ink" d="M9 3l8 8m0 -8l-8 8"/>'
    ink = style if series >= 0 else "ink"
    if kind in ("line", "dashed"):
        return f'<path class="l {ink}{" dashed" if kind == "dashed" else ""}" d="M1 7h24"/>'
    return f'<path class="l {style}" d="M1 7h24"/><g class="m {style}">{shape(13, 7, series, 4.6)}</g>'


def _titled(mark: str, style: str, tip: str, curve: bool = False) -> str:
    data, title = ' data-curve=""' * curve, f"<title>{escaped(tip)}</title>" * bool(tip)
    return f'<g class="{style}"{data}>{mark}{title}</g>'
