"""A study as data: its question, its cells, what the paper claims and what it measured.

What can be checked without `conf/` is checked here, when a study is made; `ablations.sweep.check_study` does the rest.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lightning_module.support.errors import ConfigError, spelled

Levels = Mapping[str, Any]
"""One cell of a study, or a part of one: factor -> level, such as {"model.depth": 20, "seed": 0}."""

STATISTICS = ("mean", "median", "best", "single", "reported")
"""What a published number can be over the paper's runs; "reported": the paper does not say."""

METRICS = {
    "test/error": "test error, %",
    "test/top5_error": "top-5 error, %",
    "test_ten_crop/error": "ten-crop error, %",
    "test_ten_crop/top5_error": "ten-crop top-5 error, %",
    "test_multi_scale/error": "multi-scale error, %",
    "test_multi_scale/top5_error": "multi-scale top-5 error, %",
    "test_crop_320/error": "320-pixel crop error, %",
    "test_crop_320/top5_error": "320-pixel crop top-5 error, %",
    "validation/error": "validation error, %",
    "val/error": "error on val, %",
    "train/error": "training error, %",
    "train/loss": "training loss",
    "layer_response/mean": "mean layer response",
    "images_per_second": "images/s",
}
"""What a study can be about -> how it is called, with its unit. `layer_response/rank N`, the response of the
layer that responds N-th strongest, is one too."""

HIGHER_IS_BETTER = ("images_per_second",)

Over = Literal["each", "mean"]
"""What of several groups of cells a claim must hold for."""


@dataclass(frozen=True)
class Grid:
    """Cells in order. `+` is union; a cell that stands in both counts once."""

    cells: tuple[Levels, ...]

    def __add__(self, other: Grid) -> Grid:
        known = {frozenset(cell.items()) for cell in self.cells}
        return Grid(self.cells + tuple(cell for cell in other.cells if frozenset(cell.items()) not in known))


def grid(levels: Levels | None = None, **factors: Any) -> Grid:
    """Every combination of the levels given; `model__depth` stands for the key `model.depth`.

    A list, tuple or range is a list of levels; anything else, a string too, is one level. A level that is
    a list itself, such as recipe__drops=[[200, 300], [250]], becomes a tuple. levels: more of them, by key.
    """
    axes: dict[str, tuple[Any, ...]] = {}
    for name, given in {**(levels or {}), **factors}.items():
        several = given if isinstance(given, list | tuple | range) else (given,)
        key = name.replace("__", ".")
        axes[key] = tuple(tuple(level) if isinstance(level, list) else level for level in several)
        for index, level in enumerate(axes[key]):
            if level in axes[key][:index]:
                raise ConfigError(f"cells: {key}={spelled(level)} stands twice in one grid")
    return Grid(tuple(dict(zip(axes, choice, strict=True)) for choice in itertools.product(*axes.values())))


@dataclass(frozen=True)
class Published:
    """A number that a paper printed for cells with these levels.

    statistic: what the number is over the paper's `runs`, one of STATISTICS; std: their standard deviation.
    where: its table or figure, with the word "digitised" if it was read off a figure. bound: "above" or
    "below" if the paper gives only a limit ("fail", which is its word for an error above 20 %).
    differs: how the paper's protocol is not ours, in words.
    """

    levels: Levels
    value: float
    where: str
    statistic: str = "reported"
    std: float | None = None
    runs: int | None = None
    metric: str = "test/error"
    differs: str = ""
    bound: str = ""

    def __post_init__(self) -> None:
        _known(self.metric)
        _allowed("statistic", self.statistic, STATISTICS)
        _allowed("bound", self.bound, ("", "above", "below"))

    @property
    def text(self) -> str:
        """The number as one would print it: "6.61 ± 0.16", "> 20"."""
        sign = {"": "", "above": "> ", "below": "< "}[self.bound]
        return f"{sign}{self.value:g}" + (f" ± {self.std:g}" if self.std is not None else "")


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper that the study can settle, as a comparison of two groups of cells.

    The difference is metric(of) - metric(than), paired by every factor that the two groups do not fix.
    Exactly one of the margins is given, in the unit of the metric:
    below: the difference is at most -below ("of is better by at least"); 0 means "is better at all".
    above: the difference is at least above ("of is worse by at least").
    within: the difference lies inside ±within ("they are as good").
    fails: a run of `of` fails, its error being above this many percent, or diverges, where runs of `than` do not.

    text: without its margin, which `sentence` adds. reason: whose margin it is, and why it is that large.
    over: where a factor that is left free has several levels, such as depths, the claim holds in "each" of them, or
    of their "mean", the levels being a sample of those that it speaks of (a random effect).
    """

    text: str
    of: Levels
    than: Levels
    below: float | None = None
    above: float | None = None
    within: float | None = None
    fails: float | None = None
    metric: str = "test/error"
    where: str = ""
    reason: str = ""
    over: Over = "each"

    def __post_init__(self) -> None:
        _known(self.metric)
        given = [margin for margin in (self.below, self.above, self.within, self.fails) if margin is not None]
        if len(given) != 1:
            raise ConfigError(f'claim "{self.text}": give exactly one of below, above, within and fails')
        if given[0] < 0 or self.within == 0:
            raise ConfigError(f'claim "{self.text}": a margin is not negative, and within is above 0')
        if self.fails is not None and not (_is_percent(self.metric) and 0 < self.fails < 100):
            raise ConfigError(
                f'claim "{self.text}": fails={self.fails:g} of {self.metric} is not an error in percent, '
                "above 0 and below 100; the papers' is 20 of test/error"
            )
        if self.fails is not None and self.over == "mean":
            raise ConfigError(
                f'claim "{self.text}": fails counts runs, which have no mean; leave out over="mean"'
            )
        if self.of == self.than:
            raise ConfigError(f'claim "{self.text}": of and than are the same cells')
        _allowed(f'claim "{self.text}": over', self.over, get_args(Over))

    @property
    def margin(self) -> float:
        """The one margin that is given."""
        return next(m for m in (self.below, self.above, self.within, self.fails) if m is not None)

    @property
    def sentence(self) -> str:
        """The text with its margin: "plain-56 is worse than plain-20, by at least 1 point"."""
        text = self.text + ", on average" * (self.over == "mean")
        if self.fails is not None:
            return f"{text}: error above {self.fails:g} %"
        if self.within is not None:
            return f"{text}, within ±{_amount(self.within, self.metric)}"
        return f"{text}, by at least {_amount(self.margin, self.metric)}" if self.margin else text


@dataclass(frozen=True)
class Study:
    """A question, the cells that answer it, and what is already known.

    source: where the question comes from. base: overrides that every cell starts from. rows, columns: the
    factors of the main table. baseline: the level of `columns` (or of `rows`, when there are no columns)
    that differences are taken from, at equal levels of all other factors; or {factor: level} of the one cell
    that all others are compared with, where rows are told apart by several factors. metric: what is measured,
    at the last epoch; one of METRICS.
    """

    question: str
    source: str
    base: Sequence[str]
    cells: Grid
    rows: str
    columns: str | None = None
    baseline: Any = None
    metric: str = "test/error"
    published: Sequence[Published] = ()
    claims: Sequence[Claim] = ()

    def __post_init__(self) -> None:
        _known(self.metric)
        for name in ("base", "published", "claims"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.cells.cells:
            raise ConfigError("cells: the study has none")
        for index, text in enumerate(self.base):
            if "=" not in text:
                raise ConfigError(f"base[{index}]: {text} is not an override, which is written key=value")
        _allowed("rows", self.rows, self.factors)
        if self.columns is not None:
            _allowed("columns", self.columns, [key for key in self.factors if key != self.rows])
        if isinstance(self.baseline, Mapping):
            for key, level in self.baseline.items():
                _allowed("baseline", key, self.factors)
                _allowed(f"baseline: {key}", level, self.levels(key))
        elif self.baseline is not None:
            key = self.columns or self.rows
            _allowed("baseline", self.baseline, self.levels(key))

    @property
    def factors(self) -> tuple[str, ...]:
        """Keys that the study varies or fixes in its cells, in order of appearance."""
        return tuple(dict.fromkeys(key for cell in self.cells.cells for key in cell))

    def levels(self, factor: str) -> tuple[Any, ...]:
        """The levels that its cells name of a factor, in order of appearance."""
        return tuple(dict.fromkeys(cell[factor] for cell in self.cells.cells if factor in cell))


def related(key: str, keys: Iterable[str]) -> bool:
    """Whether a key is one of these, below one (model.depth, model) or above one."""
    return any(key == other or key.startswith(other + ".") or other.startswith(key + ".") for other in keys)


def _is_percent(metric: str) -> bool:
    return METRICS.get(metric, "").endswith(", %")


def _amount(value: float, metric: str) -> str:
    """A difference of this metric with its unit: "1 point", "0.5 points", "100 images/s", "0.02"."""
    if _is_percent(metric):
        return f"{value:g} point" + "s" * (value != 1)
    return f"{value:g} {METRICS[metric]}" if metric == "images_per_second" else f"{value:g}"


def _known(metric: str) -> None:
    """ConfigError for a metric that nothing computes: nobody would ever see a number of it."""
    if not re.fullmatch(r"layer_response/rank [1-9]\d*", metric):
        _allowed("metric", metric, METRICS)


def _allowed(field: str, value: object, allowed: Iterable[object]) -> None:
    names = list(allowed)
    if value not in names:
        raise ConfigError(
            f"{field}: {value} is not one of {', '.join(str(name) for name in names if name != '')}"
        )
