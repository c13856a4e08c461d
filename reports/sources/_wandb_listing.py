"""The runs of a W&B project without their histories, whatever is wrong with the server's pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lightning_module.support.errors import log
from lightning_module.tracking.wandb_run import JOB_TYPE
from reports.sources._frames import ParsedRun
from reports.sources._wandb_client import Client, Unreachable
from reports.sources._wandb_rows import config_values, decoded, parsed_run

PAGE = 1000
"""Runs per request, the most that the server gives."""
FIRST_PAGE = 50
"""Runs in the first request when a cache exists: usually enough to see that nothing is new."""
NAMES = 1000
"""Cells in one server-side filter; beyond that all runs of the project are listed."""
ASKED = 3
"""How often a question is asked whose answers are short."""

RUNS = """query Runs($entity: String!, $project: String!, $filters: JSONString, $after: String, $first: Int) {
  project(name: $project, entityName: $entity) {
    runCount(filters: $filters)
    runs(filters: $filters, order: "-heartbeat_at", after: $after, first: $first) {
      edges { node { name displayName state config summaryMetrics heartbeatAt historyLineCount } }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""

Runs = dict[str, ParsedRun]
"""id -> run, its key "heartbeat|state|rows", with "|history" when that was fetched too."""


@dataclass(frozen=True)
class Page:
    """One answer. count: how many runs there are in all, as the server says; more: whether it promises another page."""

    nodes: Sequence[Mapping[str, Any]]
    count: int
    cursor: str | None
    more: bool

    @property
    def beats(self) -> list[str]:
        """Heartbeats of its runs, as far as they have one."""
        return [beat for node in self.nodes if isinstance(beat := node.get("heartbeatAt"), str) and beat]


def nodes_of(client: Client, connection: Any) -> list[Mapping[str, Any]]:
    """The runs in the `runs` part of an answer, without those that have no name; Unreachable if it is none."""
    edges = connection.get("edges") if isinstance(connection, Mapping) else None
    if not isinstance(edges, list):
        raise Unreachable(f"{client.account.url} does not answer as a W&B server does: it lists no runs")
    nodes = [edge.get("node") for edge in edges if isinstance(edge, Mapping)]
    return [node for node in nodes if isinstance(node, Mapping) and isinstance(node.get("name"), str)]


def _pages(client: Client, filters: Mapping[str, Any], first: int) -> Iterator[Page]:
    """All pages of the runs that a filter lets through, one after another; Unreachable if they do not end.

    A page that is said to be the last, although runs are missing, is not believed at once.
    """
    after, names = None, set[str]()
    while True:
        answer = client(RUNS, filters=json.dumps(filters), after=after, first=first)
        nodes, info = nodes_of(client, answer.get("runs")), answer["runs"].get("pageInfo")
        info, count = info if isinstance(info, Mapping) else {}, answer.get("runCount")
        cursor = info.get("endCursor")
        page = Page(nodes, count if isinstance(count, int) else 0, cursor, bool(info.get("hasNextPage")))
        yield page
        new = {node["name"] for node in nodes} - names
        names |= new
        if not page.more and (not new or not cursor or len(names) >= page.count):
            return
        if not new or not cursor:
            what = "the same page again" if nodes else "an empty page"
            raise Unreachable(
                f"{client.account.url} gives {what} and promises more runs of {client.source}: its list does not end"
            )
        after, first = cursor, PAGE


def listed(client: Client, cached: Runs, mark: str) -> tuple[Runs, str]:
    """All runs of the project as the server has them now, and the mark for the next time ("" if runs are missing).

    mark: "" to look at every run; else those without a heartbeat since then are taken from the cache, if
    with them there are as many runs as the server counts.
    """
    seen: Runs = {}
    newest, count = mark, 0
    for _ in range(ASKED):
        for number, page in enumerate(_pages(client, {"jobType": JOB_TYPE}, FIRST_PAGE if mark else PAGE)):
            seen |= _parsed(client, page, cached)
            count = page.count
            if number == 0:  # what beats while the pages are read may slip through them: the next listing's
                newest = max([newest, *page.beats])
            if min(page.beats, default=mark) < mark and len(cached | seen) == count:
                # The server may have noticed that a run crashed, for which there is no heartbeat.
                rest = [
                    name
                    for name in cached.keys() - seen.keys()
                    if cached[name].key.split("|")[1] == "running"
                ]
                return cached | seen | named(client, rest, cached), newest
        if len(seen) >= count:
            return seen, newest
    _warn(client, len(seen), count)
    return seen, ""


def named(client: Client, names: Iterable[str], cached: Runs) -> Runs:
    """The runs with these ids, as far as they exist, as the server has them now."""
    runs: Runs = {}
    several = sorted(names)
    for start in range(0, len(several), NAMES):
        found, count = Runs(), 0
        for _ in range(ASKED):
            for page in _pages(client, {"name": {"$in": several[start : start + NAMES]}}, PAGE):
                found |= _parsed(client, page, cached)
                count = page.count
            if len(found) >= count:
                break
        else:
            _warn(client, len(found), count)
        runs |= found
    return runs


def _warn(client: Client, came: int, count: int) -> None:
    log.warning(
        "%s gave %d of the %d runs of %s, asked %d times; what is missing here may be there",
        client.account.url,
        came,
        count,
        client.source,
        ASKED,
    )


def _parsed(client: Client, page: Page, cached: Runs) -> Runs:
    """The runs of a page; unchanged ones are those of the cache."""
    return {node["name"]: _run(client, node, cached.get(node["name"])) for node in page.nodes}


def _run(client: Client, node: Mapping[str, Any], known: ParsedRun | None) -> ParsedRun:
    """A run of an answer, parsed unless it is known; its history, for now, is its summary."""
    state, rows = node.get("state"), node.get("historyLineCount")
    key = f"{node.get('heartbeatAt') or ''}|{state}|{rows if isinstance(rows, int) else 0}"
    config, summary = node.get("config"), node.get("summaryMetrics")
    content = f"{config}{summary}{key}".encode("utf-8", "backslashreplace")
    checksum = hashlib.sha256(content).hexdigest()[:12]
    if known is not None and known.checksum == checksum:  # edits made by hand move no heartbeat
        return known
    last = decoded(summary)
    path = f"{client.entity}/{client.project}/runs/{node['name']}"
    return parsed_run(
        node["name"],
        config_values(decoded(config)),
        last,
        [last],
        key=key,
        running=state == "running",
        url=f"{client.account.app_url}/{quote(path)}",
        checksum=checksum,
    )
