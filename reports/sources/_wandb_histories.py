"""The histories of runs on a W&B server, many in one request; a short one is asked for again, and not kept as whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from reports.sources._frames import ParsedRun
from reports.sources._wandb_client import Client, Refused, Unreachable
from reports.sources._wandb_listing import ASKED, Runs, nodes_of
from reports.sources._wandb_rows import (
    Damaged,
    damaged_run,
    decoded,
    number,
    numbers,
    summary_differences,
    surviving_rows,
)

BATCH = 25
"""Histories per request."""
WINDOW = 10_000
"""History rows of one run per request."""
REQUESTS = 8
"""Requests at the same time."""

HISTORIES = """query Histories(
  $entity: String!, $project: String!, $filters: JSONString, $first: Int,
  $low: Int64, $high: Int64, $rows: Int
) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: $first) {
      edges { node { name history(minStep: $low, maxStep: $high, samples: $rows) } }
    }
  }
}"""

Rows = dict[str, list[Any]]
"""id -> the rows of its history, whatever they are."""


def histories(client: Client, runs: Runs) -> Iterator[tuple[str, ParsedRun]]:
    """These runs as they come, with their histories; `runs` itself is left alone."""

    def fetch(names: Sequence[str]) -> Runs:
        rows: Rows = {name: [] for name in names}
        left, asked = names, 0
        while left and asked < ASKED:
            rows |= _rows(client, left, runs)
            short = [name for name in left if _lacks(runs[name], rows[name])]
            asked = 1 if len(short) < len(left) else asked + 1  # a server may give a few at a time
            left = short
        return {name: _with_history(runs[name], rows[name]) for name in names}

    names = list(runs)
    batches = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
    with ThreadPoolExecutor(REQUESTS) as pool:
        for part in pool.map(fetch, batches):
            yield from part.items()


def _told(run: ParsedRun) -> tuple[int, float]:
    """How many rows a listed run has as the server says, and its last epoch as its summary says."""
    last = dict(zip(run.names, run.rows[-1].tolist(), strict=True)) if len(run.rows) else {}
    return int(run.key.split("|")[2]), last.get("epoch", 0)


def _reached(rows: Sequence[Any]) -> float:
    """The last epoch that these rows tell of."""
    return max((number(row.get("epoch", 0)) or 0 for row in rows if isinstance(row, dict)), default=0)


def _lacks(run: ParsedRun, rows: Sequence[Any]) -> str:
    """What a history lacks of what the server says of the run elsewhere; "" if it is whole."""
    count, epoch = _told(run)
    if _reached(rows) < epoch:
        return f"W&B gives its history up to epoch {_reached(rows):.0f}, and says that it came to epoch {epoch:.0f}"
    return f"W&B gives {len(rows)} of the {count} rows of its history" if len(rows) < count else ""


def _with_history(run: ParsedRun, rows: Sequence[Any]) -> ParsedRun:
    """A listed run with its history. One that is short is no complete run: it lacks the end of the key.

    Without its last epoch it has no results either, so it is damaged.
    """
    lacks = _lacks(run, rows)
    key = run.key if lacks else f"{run.key}|history"
    try:
        names, values = numbers(surviving_rows(rows, run.attempt))
    except Damaged as error:
        # With a note it is asked for again: the answer may have been wrong once, and not the history.
        about = {"key": run.key, "note": lacks or "its history cannot be read", "checksum": run.checksum}
        return damaged_run(run.cell["identity"], error, run.attempt["url"], **about)
    summary = dict(zip(run.names, run.rows[-1].tolist(), strict=True)) if len(run.rows) else {}
    return replace(
        run,
        key=key,
        names=names,
        rows=values,
        summary=summary_differences(summary, names, values),
        damage=lacks if lacks and _reached(rows) < _told(run)[1] else "",
        note=lacks,
    )


def _rows(client: Client, names: Sequence[str], runs: Runs) -> Rows:
    """All history rows of a few runs; a request that is too much for the server is made in two halves."""
    rows: Rows = {name: [] for name in names}
    most = max(_told(runs[name])[0] for name in names)
    filters = json.dumps({"name": {"$in": list(names)}})
    try:
        for low in range(0, max(1, most), WINDOW):
            page = client(
                HISTORIES, filters=filters, first=len(names), low=low, high=low + WINDOW, rows=WINDOW
            )
            before = sum(map(len, rows.values()))
            for node in nodes_of(client, page.get("runs")):
                if node["name"] in rows:
                    rows[node["name"]] += _parsed(node.get("history"))
            if sum(map(len, rows.values())) == before:  # whatever it counts, it has no more
                break
    except (Unreachable, Refused) as error:
        if len(names) == 1 or not getattr(error, "answered", True):
            raise
        half = len(names) // 2
        return _rows(client, names[:half], runs) | _rows(client, names[half:], runs)
    return rows


def _parsed(lines: Any) -> list[Any]:
    """The rows of a history as the server gives it, a text of JSON for each; None: there are none."""
    lines = lines or []
    try:
        rows: list[Any] = json.loads(f"[{','.join(lines)}]")
    except (TypeError, ValueError, RecursionError):
        return [decoded(line) for line in lines] if isinstance(lines, list) else [lines]
    return rows
