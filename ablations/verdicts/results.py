"""The cells that somebody asked for, with what came of them, as plain data: what claims are judged by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_module.cell.record import last_event

RESPONSES = "layer_response/"

NOT_NEEDED = "not needed"
"""State of a cell that was never started, because the claims of its sweep were settled without it."""


@dataclass(frozen=True)
class Result:
    """A cell and what came of it.

    levels: its configuration, flat, and the groups that it chose; sequences are tuples. metrics: of its last epoch.
    events: what else it recorded.
    """

    identity: str
    levels: Mapping[str, Any]
    state: str = "planned"
    metrics: Mapping[str, float] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()

    def value(self, metric: str) -> float:
        """Of a metric, or of the layer responses, which are made from the event; NaN if there is none."""
        if metric.startswith(RESPONSES):
            return response(self.events, metric)
        return float(self.metrics.get(metric, math.nan))


def frozen(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with its sequences as tuples, so that levels can be compared."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in flat.items()}


def last_responses(events: Sequence[Mapping[str, Any]]) -> list[float]:
    """Standard deviation of each layer's response, in order, as a run recorded them last; [] if it did not."""
    return [std for _, std in last_event(events, "layer_responses").get("responses", ())]


def response(events: Sequence[Mapping[str, Any]], metric: str) -> float:
    """Of the layer responses that a run recorded: "layer_response/mean", or "…/rank 3", the third strongest.

    They are made here, from the event, so that they are the same from every source. NaN if there is none.
    """
    stds = sorted(last_responses(events), reverse=True)
    what = metric.removeprefix(RESPONSES)
    if what == "mean":
        return math.fsum(stds) / len(stds) if stds else math.nan
    rank = int(what.removeprefix("rank "))
    return stds[rank - 1] if rank <= len(stds) else math.nan
