"""Source `wandb:ENTITY/PROJECT`: runs of a W&B server, the cloud or a self-hosted one.

Runs come in pages of 1,000, newest heartbeat first, with nothing but the fields a report needs; histories
come for many runs in one request, several requests at a time. Both are kept in a cache (in the
user's cache folder) under the heartbeat that they were fetched at. The cache's mark is the newest heartbeat
when all runs were last listed: the next listing ends there, and asks again for runs that were still running.
Up to 1,000 runs are asked for by name instead, every one of them, which leaves the mark where it is: it says
nothing about the others.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.sweep.manifest import Manifest
from lightning_module.support.disk import cache_folder
from lightning_module.support.errors import ConfigError, log
from lightning_module.tracking.wandb_run import JOB_TYPE
from reports.sources import Frames
from reports.sources._cache import read_cache, write_cache
from reports.sources._frames import ParsedRun, frames
from reports.sources._wandb_client import Client, Refused, Unreachable, connect, place
from reports.sources._wandb_rows import (
    MOST_IDS,
    Damaged,
    config_values,
    damaged_run,
    decoded,
    ids,
    numbers,
    parsed_run,
    summary_differences,
    surviving_rows,
)

PAGE = 1000
"""Runs per request, the most that the server gives."""
FIRST_PAGE = 50
"""Runs in the first request when a cache exists: usually enough to see that nothing is new."""
BATCH = 25
"""Histories per request."""
WINDOW = 10_000
"""History rows of one run per request."""
REQUESTS = 8
"""Requests at the same time."""
NAMES = 1000
"""Identities in one server-side filter; beyond that all runs of the project are listed."""

RUNS = """query Runs($entity: String!, $project: String!, $filters: JSONString, $after: String, $first: Int) {
  project(name: $project, entityName: $entity) {
    runCount(filters: $filters)
    runs(filters: $filters, order: "-heartbeat_at", after: $after, first: $first) {
      edges { node { name displayName state config summaryMetrics heartbeatAt historyLineCount } }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""

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

Runs = dict[str, ParsedRun]
"""identity -> run, its key "heartbeat|state|rows", with "|history" when that was fetched too."""


def listed(client: Client, cached: Runs, mark: str) -> tuple[Runs, str]:
    """All runs of the project as the server has them now, and the mark for the next time.

    mark: "" to look at every run; else those without a heartbeat since then are taken from the cache, if
    with them there are as many runs as the server counts.
    """
    seen: Runs = {}
    after, first, newest = None, FIRST_PAGE if mark else PAGE, mark
    while True:
        page = client(RUNS, filters=json.dumps({"jobType": JOB_TYPE}), after=after, first=first)
        seen |= _parsed(client, page, cached)
        beats = [edge["node"]["heartbeatAt"] for edge in page["runs"]["edges"] if edge["node"]["heartbeatAt"]]
        if after is None:  # what beats while the pages are read may slip through them: the next listing's
            newest = max([mark, *beats])
        if not page["runs"]["pageInfo"]["hasNextPage"]:
            return seen, newest
        if min(beats, default=mark) < mark and len(cached | seen) == page["runCount"]:
            break
        after, first = page["runs"]["pageInfo"]["endCursor"], PAGE
    # The server may have noticed that a run crashed, for which there is no heartbeat.
    running = [name for name in cached.keys() - seen.keys() if cached[name].key.split("|")[1] == "running"]
    return cached | seen | named(client, running, cached), newest


def named(client: Client, names: Iterable[str], cached: Runs) -> Runs:
    """These runs, as far as they exist, as the server has them now."""
    runs: Runs = {}
    for part in batches(sorted(names), NAMES):
        page = client(RUNS, filters=json.dumps({"name": {"$in": part}}), after=None, first=NAMES)
        runs |= _parsed(client, page, cached)
    return runs


def _parsed(client: Client, page: Mapping[str, Any], cached: Runs) -> Runs:
    """The runs of an answer; unchanged ones are those of the cache."""
    nodes = [edge["node"] for edge in page["runs"]["edges"]]
    return {node["name"]: _run(client, node, cached.get(node["name"])) for node in nodes}


def _run(client: Client, node: Mapping[str, Any], known: ParsedRun | None) -> ParsedRun:
    """A run of an answer, parsed unless it is known; its history, for now, is its summary."""
    key = f"{node['heartbeatAt'] or ''}|{node['state']}|{node['historyLineCount'] or 0}"
    content = f"{node['config']}{node['summaryMetrics']}{key}".encode("utf-8", "backslashreplace")
    checksum = hashlib.sha256(content).hexdigest()[:12]
    if known is not None and known.checksum == checksum:  # edits made by hand move no heartbeat
        return known
    summary = decoded(node["summaryMetrics"])
    return parsed_run(
        node["name"],
        config_values(decoded(node["config"])),
        summary,
        [summary],
        key=key,
        running=node["state"] == "running",
        url=f"{client.server.app_url}/{client.entity}/{client.project}/runs/{node['name']}",
        checksum=checksum,
    )


def histories(client: Client, runs: Runs) -> Iterator[tuple[str, ParsedRun]]:
    """These runs as they come, with their histories; `runs` itself is left alone."""

    def fetch(names: Sequence[str]) -> Runs:
        rows = _rows(client, names, runs)
        return {name: _with_history(runs[name], rows[name]) for name in names}

    with ThreadPoolExecutor(REQUESTS) as pool:
        for part in pool.map(fetch, batches(list(runs), BATCH)):
            yield from part.items()


def _with_history(run: ParsedRun, rows: Iterable[Any]) -> ParsedRun:
    try:
        names, values = numbers(surviving_rows(rows, run.attempt))
    except Damaged as error:
        about = {"key": f"{run.key}|history", "checksum": run.checksum}
        return damaged_run(run.cell["identity"], error, run.attempt["url"], **about)
    summary = dict(zip(run.names, run.rows[-1].tolist(), strict=True)) if len(run.rows) else {}
    differences = summary_differences(summary, names, values)
    return replace(run, key=f"{run.key}|history", names=names, rows=values, summary=differences)


def _rows(client: Client, names: Sequence[str], runs: Runs) -> dict[str, list[dict[str, Any]]]:
    """All history rows of a few runs; a request that is too much for the server is made in two halves."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    most = max(int(runs[name].key.split("|")[2]) for name in names)
    filters = json.dumps({"name": {"$in": list(names)}})
    try:
        for low in range(0, most, WINDOW):
            page = client(
                HISTORIES, filters=filters, first=len(names), low=low, high=low + WINDOW, rows=WINDOW
            )
            for edge in page["runs"]["edges"]:
                rows[edge["node"]["name"]] += parsed_rows(edge["node"]["history"])
    except (Unreachable, Refused):
        if len(names) == 1:
            raise
        half = len(names) // 2
        return _rows(client, names[:half], runs) | _rows(client, names[half:], runs)
    return rows


def parsed_rows(lines: Any) -> list[Any]:
    """The rows of a history as the server gives it, a text of JSON for each; None: there are none."""
    lines = lines or []
    try:
        rows: list[Any] = json.loads(f"[{','.join(lines)}]")
    except (TypeError, ValueError, RecursionError):
        return [decoded(line) for line in lines] if isinstance(lines, list) else [lines]
    return rows


def batches(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    """Parts of a sequence, at most `size` long."""
    return (items[start : start + size] for start in range(0, len(items), size))


def collect(
    client: Client, wanted: frozenset[str] | None = None, with_histories: bool = True, fresh: bool = False
) -> Runs:
    """What the server holds of the wanted cells (all: None), by way of the cache, which is brought up to date.

    Foreign runs, and each of the ids of a cell, are among them; see `by_identity`.

    Without a server that answers: the cache, with a warning; ConfigError if there is none.
    fresh: look at every run, and never let the cache stand in.
    """
    from tqdm import tqdm

    host = re.sub(r"[^A-Za-z0-9.]+", "_", client.server.url.partition("://")[2])
    path = cache_folder() / host / client.entity / f"{client.project}.npz"
    cached, mark = read_cache(path)
    kept, newest = cached, mark
    fetched: Runs = {}
    names = None if wanted is None else frozenset(name for identity in wanted for name in ids(identity))

    def chosen(runs: Runs) -> Runs:
        return {name: run for name, run in runs.items() if names is None or name in names}

    try:
        if names is not None and len(names) <= NAMES * MOST_IDS:
            others = {name: run for name, run in cached.items() if name not in names}
            listing, now = others | named(client, names, cached), mark
        else:
            listing, now = listed(client, cached, "" if fresh else mark)
        runs = chosen(listing)
        if with_histories:
            missing = {name: run for name, run in runs.items() if not _complete(run)}
            bar = {"desc": "histories from W&B", "total": len(missing), "unit": "run"}
            fetched.update(tqdm(histories(client, missing), **bar, disable=None, leave=False))
        kept, newest = listing, now
    except Unreachable as error:
        runs = {n: run for n, run in chosen(cached).items() if _complete(run) or not with_histories}
        if fresh or not runs:
            raise ConfigError(
                f"{error}{'' if fresh else ', and nothing of it was collected before'}"
            ) from error
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
        log.warning("%s; this is what was collected until %s", error, day)
    finally:  # of a collection that was cut off, the histories that had come
        new = kept | fetched
        same = new.keys() == cached.keys() and all(cached[name] is run for name, run in new.items())
        if newest != mark or not same:
            write_cache(path, new, newest)
    return runs | fetched


def by_identity(runs: Runs) -> Runs:
    """Our runs by the identity of their cells; of several of a cell the one that was pushed last counts."""
    return {run.cell["identity"]: run for _, run in sorted(runs.items()) if not run.foreign}


def _complete(run: ParsedRun) -> bool:
    """Whether nothing of this run is left to fetch."""
    return run.foreign or bool(run.damage) or run.key.endswith("|history")


def load(where: str, manifest: Manifest | None, fresh: bool = False) -> Frames:
    """Runs, histories and events of ENTITY/PROJECT; ConfigError says in one sentence why there are none.

    fresh: what the server has now and nothing else, at the price of listing every run.
    """
    wanted = None if manifest is None else frozenset(cell["identity"] for cell in manifest.cells)
    runs = collect(connect(*place(where)), wanted, fresh=fresh)
    return replace(frames(Path(where), by_identity(runs)), foreign=sum(run.foreign for run in runs.values()))
