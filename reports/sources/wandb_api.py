"""Source `wandb:ENTITY/PROJECT`: runs of a W&B server, the cloud or a self-hosted one.

Runs come in pages of 1,000, newest heartbeat first, with nothing but the fields a report needs; histories
come for many runs in one request, several requests at a time. Both are kept in a cache (parquet, in the
user's cache folder) under the heartbeat that they were fetched at: a second collection asks for the first
page only, sees that the rest is known, and asks again for runs that were still running. wandb's own client
does the talking: key, proxy and certificates are those that wandb uses, and 408, 429 and 5xx are tried again
with growing pauses.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ablations.cell import ConfigError
from ablations.manifest import Manifest
from lightning_module.tracking import JOB_TYPE
from reports.sources import Frames, records
from reports.sources._cache import read_cache, write_cache
from reports.sources._wandb_client import Client, Unreachable, connect, place
from reports.sources._wandb_rows import entry, numbers, settled
from reports.sources.records import Entry

log = logging.getLogger(__name__)

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

Cached = dict[str, tuple[str, Entry]]
"""identity -> ("heartbeat|state|rows", with "|history" when that was fetched too; the run)."""


def runs(client: Client, wanted: frozenset[str] | None, cached: Cached) -> Cached:
    """The runs as the server has them now, those of `wanted` only; unchanged ones are those of the cache."""
    few = wanted is not None and len(wanted) <= NAMES
    filters = {"name": {"$in": sorted(wanted or ())}} if few else {"jobType": JOB_TYPE}
    mine = {name: pair for name, pair in cached.items() if not few or name in (wanted or ())}
    newest = max((pair[0].split("|")[0] for pair in mine.values()), default="")
    seen: Cached = {}
    after, first = None, FIRST_PAGE if mine else PAGE
    while True:
        page = client(RUNS, filters=json.dumps(filters), after=after, first=first)
        nodes = [edge["node"] for edge in page["runs"]["edges"]]
        seen |= {node["name"]: _run(client, node, cached.get(node["name"])) for node in nodes}
        if not page["runs"]["pageInfo"]["hasNextPage"]:
            known: Cached = {}  # everything was seen, so what was not is no longer there
            break
        known = mine
        if nodes[-1]["heartbeatAt"] < newest and len(mine | seen) == page["runCount"]:
            break
        after, first = page["runs"]["pageInfo"]["endCursor"], PAGE
    open_ones = [name for name in known.keys() - seen.keys() if known[name][0].split("|")[1] == "running"]
    for part in batches(sorted(open_ones), NAMES):  # the server may have noticed that they crashed
        page = client(RUNS, filters=json.dumps({"name": {"$in": part}}), after=None, first=NAMES)
        nodes = [edge["node"] for edge in page["runs"]["edges"]]
        seen |= {node["name"]: _run(client, node, cached.get(node["name"])) for node in nodes}
    found = known | seen
    return {name: found[name] for name in sorted(found) if wanted is None or name in wanted}


def _run(client: Client, node: Mapping[str, Any], old: tuple[str, Entry] | None) -> tuple[str, Entry]:
    """A run of an answer, parsed unless it is known; its history, for now, is its summary."""
    key = f"{node['heartbeatAt'] or ''}|{node['state']}|{node['historyLineCount'] or 0}"
    if old is not None and old[0].removesuffix("|history") == key:
        return old
    config = {
        name: item["value"] for name, item in json.loads(node["config"] or "{}").items() if "value" in item
    }
    summary = json.loads(node["summaryMetrics"] or "{}")
    made = entry(
        node["name"],
        config,
        summary,
        [summary],
        running=node["state"] == "running",
        url=f"{client.service.app_url}{client.entity}/{client.project}/runs/{node['name']}",
        checksum=hashlib.sha256(f"{node['config']}{node['summaryMetrics']}{key}".encode()).hexdigest()[:12],
        foreign="cell" not in config,
    )
    return key, made


def histories(client: Client, found: Cached) -> Iterator[tuple[str, tuple[str, Entry]]]:
    """The runs whose history is not in the cache, as they come, with it; `found` itself is left alone."""
    missing = [
        name for name, (key, run) in found.items() if not key.endswith("|history") and not run.head["foreign"]
    ]

    def fetch(names: Sequence[str]) -> Cached:
        rows = _rows(client, names, found)
        return {name: _with_history(*found[name], rows[name]) for name in names}

    with ThreadPoolExecutor(REQUESTS) as pool:
        for part in pool.map(fetch, batches(missing, BATCH)):
            yield from part.items()


def _with_history(key: str, run: Entry, rows: Iterable[Mapping[str, Any]]) -> tuple[str, Entry]:
    """A run and its key once its history is known."""
    return f"{key}|history", Entry(run.key, run.head, *numbers(settled(rows, run.head["attempt"])))


def _rows(client: Client, names: Sequence[str], found: Cached) -> dict[str, list[dict[str, Any]]]:
    """All history rows of a few runs; a request that is too much for the server is made in two halves."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    most = max(int(found[name][0].split("|")[2]) for name in names)
    filters = json.dumps({"name": {"$in": list(names)}})
    try:
        for low in range(0, most, WINDOW):
            page = client(
                HISTORIES, filters=filters, first=len(names), low=low, high=low + WINDOW, rows=WINDOW
            )
            for edge in page["runs"]["edges"]:
                rows[edge["node"]["name"]] += json.loads(f"[{','.join(edge['node']['history'] or [])}]")
    except Unreachable:
        if len(names) == 1:
            raise
        half = len(names) // 2
        return _rows(client, names[:half], found) | _rows(client, names[half:], found)
    return rows


def batches(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    """Parts of a sequence, at most `size` long."""
    return (items[start : start + size] for start in range(0, len(items), size))


def cache_file(base_url: str, entity: str, project: str) -> Path:
    """Where the cache of a project is kept: below XDG_CACHE_HOME, or ~/.cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    host = re.sub(r"[^A-Za-z0-9.]+", "_", base_url.partition("://")[2])
    return home / "residual-ablations" / host / entity / f"{project}.parquet"


def collect(
    client: Client, wanted: frozenset[str] | None = None, with_histories: bool = True, stand_in: bool = True
) -> Cached:
    """What the server holds of the wanted runs (all: None), by way of the cache, which is brought up to date.

    Without a server that answers: the cache, with a warning; ConfigError if there is none or not stand_in.
    """
    from tqdm import tqdm

    path = cache_file(client.service.base_url, client.entity, client.project)
    cached = read_cache(path)
    try:
        found = runs(client, wanted, cached)
        if with_histories:
            missing = sum(not key.endswith("|history") for key, _ in found.values())
            news = histories(client, found)
            bar = tqdm(
                news,
                "histories from W&B",
                total=missing,
                unit="run",
                disable=None,
                leave=False,
            )
            found |= dict(bar)
    except Unreachable as error:
        mine = {name: pair for name, pair in cached.items() if wanted is None or name in wanted}
        if not mine or not stand_in:
            raise ConfigError(
                f"{error}" + (", and nothing of it was collected before" if stand_in else "")
            ) from error
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
        log.warning("%s; this is what was collected until %s", error, day)
        found = mine
    else:
        if any(cached.get(name) is not pair for name, pair in found.items()):
            write_cache(path, cached | found)
    return {name: pair for name, pair in sorted(found.items()) if not pair[1].head["foreign"]}


def load(where: str, manifest: Manifest | None, stand_in: bool = True) -> Frames:
    """Runs, histories and events of ENTITY/PROJECT; ConfigError says in one sentence why there are none.

    stand_in: whether a server that does not answer may be replaced by what was collected before.
    """
    wanted = None if manifest is None else frozenset(cell["identity"] for cell in manifest.cells)
    found = collect(connect(*place(where)), wanted, stand_in=stand_in)
    return records.frames(Path(where), {name: pair[1] for name, pair in found.items()})
