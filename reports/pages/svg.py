"""Plots as SVG text: deterministic, small, and with a title on every mark for those who hover.

No plotting library: it would cost a second of import, embed random ids, and know nothing of hovering. Marks
carry classes only (s0 ... s6 for series); colours, light and dark, are in templates/figure.css.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from textwrap import wrap

SERIES = 7
"""Series that can be told apart: by colour (Okabe and Ito's, safe for the colour-blind) and by shape."""

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 30, 46
_CHARACTER = 6.4
"""Mean width of a character at 12 px, for deciding what fits."""


_LABEL = 30
"""Characters of a line of a row's label."""

_KEY = 13
"""Px of a line of a legend inside a plot."""


def room_for_keys(top: float, lines: int) -> float:
    """The upper end of an axis from zero that leaves room above `top` for such a legend."""
    return top / (1 - _KEY * lines / (HEIGHT - _TOP - _BOTTOM))


def text_width(text: str) -> float:
    """Estimated width in px at 12 px."""
    return _CHARACTER * len(text)


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
    if high <= low:
        high = low + 1
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) + (step / power == 2.5 and power <= 1)
    first = math.ceil(low / step - 1e-9)
    values = [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(label, low, high, [(value, f"{value:,.{decimals}f}") for value in values])


def logarithmic(label: str, low: float, high: float) -> Axis:
    """A logarithmic axis with ticks at 1, 2 and 5 times the powers of ten, or at more if fewer than three fit."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        values = [f * 10.0**power for power in powers for f in factors if low <= f * 10.0**power <= high]
        if len(values) >= 3:
            return Axis(label, low, high, [(value, f"{value:g}") for value in values], log=True)
    return replace(linear(label, low, high), log=True)


def range_of(values: Sequence[float], zero_below: float = 0.3) -> tuple[float, float]:
    """Limits that hold all values with some air; from zero if the lowest is below this part of it."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    air = 0.08 * (high - low or abs(high) or 1.0)
    return (0.0 if 0 <= low <= zero_below * high else low - air), high + air


@dataclass
class Panel:
    """One plot under construction; `svg()` is its content in a WIDTH × HEIGHT box."""

    title: str
    x: Axis
    y: Axis
    marks: list[str] = field(default_factory=list)

    def px(self, value: float) -> float:
        """x value -> px."""
        return _LEFT + self.x.fraction(value) * (WIDTH - _LEFT - _RIGHT)

    def py(self, value: float) -> float:
        """y value -> px; values outside are left to the clip."""
        return HEIGHT - _BOTTOM - self.y.fraction(value) * (HEIGHT - _TOP - _BOTTOM)

    def marker(self, x: float, value: float, series: int, tip: str, small: bool = False) -> None:
        """A value at `x` px; small: one seed."""
        y = self.py(value)
        if y < _TOP or y > HEIGHT - _BOTTOM:
            return
        style = f"m s{series % SERIES}" + (" seed" if small else "")
        self.marks.append(_titled(shape(x, y, series, 2.6 if small else 4.6), style, tip))

    def label(self, x: float, value: float, text: str) -> None:
        """A word above a mark at `x` px."""
        self.marks.append(
            f'<text class="t small mid" x="{x:.1f}" y="{self.py(value) - 8:.1f}">{escape(text)}</text>'
        )

    def cross(self, x: float, series: int, tip: str) -> None:
        """A run without a value, at the upper edge."""
        y = _TOP + 7
        mark = f'<path d="M{x - 4:.1f} {y - 4}l8 8m0 -8l-8 8"/>'
        self.marks.append(_titled(mark, f"l s{series % SERIES}", tip))

    def bar(self, x: float, low: float, high: float, series: int) -> None:
        """An interval at `x` px; without a cap where it goes on outside; nothing where there is none."""
        if math.isnan(low):
            return
        top, bottom = max(self.py(high), _TOP), min(self.py(low), HEIGHT - _BOTTOM)
        caps = [y for y in (self.py(high), self.py(low)) if _TOP <= y <= HEIGHT - _BOTTOM]
        path = f"M{x:.1f} {top:.1f}V{bottom:.1f}" + "".join(f"M{x - 4:.1f} {y:.1f}h8" for y in caps)
        self.marks.append(f'<path class="l s{series % SERIES}" d="{path}"/>')

    def line(
        self,
        points: Sequence[tuple[float, float]],
        series: int,
        tip: str = "",
        style: str = "",
        px: bool = False,
    ) -> None:
        """A line through values (px: x is in px already); style: dashed, faint or both."""
        drawn = [(x if px else self.px(x), self.py(y)) for x, y in points if math.isfinite(y)]
        if len(drawn) < 2:
            return
        text = " ".join(f"{x:.1f},{min(max(y, -999), 9999):.1f}" for x, y in drawn)
        classes = " ".join(["l", f"s{series % SERIES}", style]).strip()
        self.marks.append(_titled(f'<polyline points="{text}"/>', classes, tip, curve=not px and bool(tip)))

    def rule(self, x: float, text: str) -> None:
        """A vertical rule at an x value, with a word at its top."""
        at = self.px(x)
        self.marks.append(f'<path class="rule" d="M{at:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        self.marks.append(f'<text class="t small" x="{at + 3:.1f}" y="{_TOP + 10}">{escape(text)}</text>')

    def key(self, series: int, text: str) -> None:
        """A line of a legend of its own, in the upper right corner, where curves that fall leave room."""
        y, end = _TOP + 11 + _KEY * series, WIDTH - _RIGHT - 4
        line = f'<path class="l s{series % SERIES}" d="M{end - 18} {y - 3}h18"/>'
        halo = 'style="paint-order:stroke;stroke:var(--paper);stroke-width:3px"'
        self.marks.append(
            f'{line}<text class="t small end" {halo} x="{end - 24}" y="{y}">{escape(text)}</text>'
        )

    def svg(self) -> str:
        """The plot as SVG content; the data attributes let the page turn px back into values."""
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        out = [f'<text class="t title" x="{_LEFT}" y="17">{escape(self.title)}</text>']
        for value, text in self.y.ticks:
            y = self.py(value)
            out.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
            out.append(f'<text class="t end" x="{_LEFT - 7}" y="{y + 4:.1f}">{escape(text)}</text>')
        reach = -math.inf
        for value, text in self.x.ticks:
            x, half = self.px(value), text_width(text) / 2
            out.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
            if x - half > reach:
                reach = x + half + 5
                out.append(f'<text class="t mid" x="{x:.1f}" y="{bottom + 18}">{escape(text)}</text>')
        out.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
        middle, across = (_LEFT + right) / 2, (_TOP + bottom) / 2
        out.append(f'<text class="t mid" x="{middle:.1f}" y="{HEIGHT - 8}">{escape(self.x.label)}</text>')
        out.append(
            f'<text class="t mid" transform="translate(12 {across:.1f}) rotate(-90)">'
            f"{escape(self.y.label)}</text>"
        )
        box = f'x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}"'
        scale = f'data-x="{self.x.low:g} {self.x.high:g}" data-y="{self.y.low:g} {self.y.high:g}"'
        names = f'data-names="{escape(self.x.label)}|{escape(self.y.label)}"'
        out.append(f'<svg {box} viewBox="{_LEFT} {_TOP} {right - _LEFT} {bottom - _TOP}" {scale} {names}>')
        return "\n".join([*out, *self.marks, "</svg>"])


@dataclass
class RowPanel:
    """A plot under construction with a row per label and values across; WIDTH × `height`."""

    title: str
    x: Axis
    labels: Sequence[str]
    series: int = 1
    marks: list[str] = field(default_factory=list)

    @cached_property
    def _wrapped(self) -> list[list[str]]:
        return [wrap(label, _LABEL, max_lines=2, placeholder=" …") or [""] for label in self.labels]

    @property
    def _left(self) -> float:
        return 14 + max(text_width(line) for lines in self._wrapped for line in lines)

    @property
    def _pitch(self) -> int:
        return max(14 * max(map(len, self._wrapped)) + 6, 11 * self.series + 8, 22)

    @property
    def height(self) -> int:
        """What the rows need."""
        return _TOP + self._pitch * len(self.labels) + _BOTTOM

    def px(self, value: float) -> float:
        """x value -> px."""
        return self._left + self.x.fraction(value) * (WIDTH - _RIGHT - self._left)

    def py(self, row: int, series: int) -> float:
        """The height in px at which a series stands in a row."""
        return _TOP + (row + 0.5) * self._pitch + 11 * (series - (self.series - 1) / 2)

    def marker(self, value: float, y: float, series: int, tip: str, small: bool = False) -> None:
        """A value at `y` px; small: one seed."""
        x = self.px(value)
        if self._left <= x <= WIDTH - _RIGHT:
            style = f"m s{series % SERIES}" + (" seed" if small else "")
            self.marks.append(_titled(shape(x, y, series, 2.6 if small else 4.6), style, tip))

    def cross(self, y: float, series: int, tip: str) -> None:
        """A run without a value, at the right edge."""
        mark = f'<path d="M{WIDTH - _RIGHT - 11} {y - 4:.1f}l8 8m0 -8l-8 8"/>'
        self.marks.append(_titled(mark, f"l s{series % SERIES}", tip))

    def bar(self, low: float, high: float, y: float, series: int) -> None:
        """An interval at `y` px; without a cap where it goes on outside; nothing where there is none."""
        if math.isnan(low):
            return
        ends = (self.px(low), self.px(high))
        left, right = max(ends[0], self._left), min(ends[1], WIDTH - _RIGHT)
        caps = [x for x in ends if self._left <= x <= WIDTH - _RIGHT]
        path = f"M{left:.1f} {y:.1f}H{right:.1f}" + "".join(f"M{x:.1f} {y - 4:.1f}v8" for x in caps)
        self.marks.append(f'<path class="l s{series % SERIES}" d="{path}"/>')

    def svg(self) -> str:
        """The plot as SVG content."""
        bottom, right = self.height - _BOTTOM, WIDTH - _RIGHT
        out = [f'<text class="t title" x="{self._left:.1f}" y="17">{escape(self.title)}</text>']
        for row, lines in enumerate(self._wrapped):
            middle = _TOP + (row + 0.5) * self._pitch
            out.append(f'<path class="grid" d="M{self._left:.1f} {middle:.1f}H{right}"/>')
            for number, line in enumerate(lines):
                y = middle + 4 + 14 * (number - (len(lines) - 1) / 2)
                out.append(f'<text class="t end" x="{self._left - 8:.1f}" y="{y:.1f}">{escape(line)}</text>')
        for value, text in self.x.ticks:
            x = self.px(value)
            out.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>')
            out.append(f'<text class="t mid" x="{x:.1f}" y="{bottom + 18}">{escape(text)}</text>')
        out.append(f'<path class="axis" d="M{self._left:.1f} {bottom}H{right}"/>')
        middle = (self._left + right) / 2
        label = f'<text class="t mid" x="{middle:.1f}" y="{self.height - 8}">{escape(self.x.label)}</text>'
        return "\n".join([*out, label, *self.marks])


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
    title = f"<title>{escape(tip)}</title>" if tip else ""
    data = ' data-curve=""' if curve else ""
    return f'<g class="{style}"{data}>{mark}{title}</g>'
