"""Source `wandb:ENTITY/PROJECT`: runs of a W&B server, the cloud or a self-hosted one.

Runs come in pages of 1,000, newest heartbeat first, with nothing but the fields a report needs; histories
come for many runs in one request, several requests at a time. Both are kept in a cache (in the
user's cache folder) under the heartbeat that they were fetched at. The cache's mark is the newest heartbeat
when all runs were last listed: the next listing ends there, and asks again for runs that were still running.
Up to 1,000 cells are asked for by name instead, every one of them, which leaves the mark where it is: it says
nothing about the others. What came short of what the server counts is not kept as complete.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ablations.sweep.manifest import Manifest
from lightning_module.support.disk import cache_folder
from lightning_module.support.errors import ConfigError, log
from lightning_module.tracking.wandb_server import run_ids
from reports.sources import Frames
from reports.sources._cache import read_cache, write_cache
from reports.sources._frames import ParsedRun, frames
from reports.sources._sweeps import Declared, declared
from reports.sources._wandb_client import Client, Unreachable, connect, place
from reports.sources._wandb_histories import histories
from reports.sources._wandb_listing import NAMES, Runs, listed, named


def collect(
    client: Client, wanted: frozenset[str] | None = None, with_histories: bool = True, fresh: bool = False
) -> Runs:
    """What the server holds of the wanted cells (all: None), by way of the cache, which is brought up to date.

    Foreign runs, and each of the ids of a cell, are among them; see `by_identity`.

    Without a server that answers: the cache, with a warning; ConfigError if there is none.
    fresh: ask for all of it, and take nothing from the cache.
    """
    from tqdm import tqdm

    host = re.sub(r"[^A-Za-z0-9.]+", "_", client.account.url.partition("://")[2])
    path = cache_folder() / host / client.entity / f"{client.project}.npz"
    cached, mark = read_cache(path)
    known, since = ({}, "") if fresh else (cached, mark)
    kept, newest = cached, mark
    fetched: Runs = {}
    names = None if wanted is None else frozenset(name for identity in wanted for name in run_ids(identity))

    def chosen(runs: Runs) -> Runs:
        return {name: run for name, run in runs.items() if names is None or name in names}

    try:
        if wanted is not None and names is not None and len(wanted) <= NAMES:
            others = {name: run for name, run in cached.items() if name not in names}
            listing, now = others | named(client, names, known), mark
        else:
            listing, now = listed(client, known, since)
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
        new = kept | {name: run for name, run in fetched.items() if _complete(run)}
        same = new.keys() == cached.keys() and all(cached[name] is run for name, run in new.items())
        if newest != mark or not same:
            write_cache(path, new, newest)
    return runs | fetched


def by_identity(runs: Runs) -> Runs:
    """Our runs by the identity of their cells; of several of a cell the one that was pushed last counts."""
    return {run.cell["identity"]: run for _, run in sorted(runs.items()) if not run.foreign}


def _complete(run: ParsedRun) -> bool:
    """Whether nothing of this run is left to fetch."""
    return run.foreign or run.key.endswith("|history") or (bool(run.damage) and not run.note)


def sweeps(where: str) -> Sequence[Declared]:
    """The sweeps that the runs of ENTITY/PROJECT carry, newest first."""
    runs = by_identity(collect(connect(*place(where)), with_histories=False))
    return declared(run.sweeps for run in runs.values())


def load(where: str, manifest: Manifest | None) -> Frames:
    """Runs, histories and events of ENTITY/PROJECT; ConfigError says in one sentence why there are none."""
    wanted = None if manifest is None else frozenset(cell["identity"] for cell in manifest.cells)
    return _frames(where, collect(connect(*place(where)), wanted))


def load_fresh(where: str, identities: Iterable[str] | None = None) -> Frames:
    """What the server has now of these cells (all: None), nothing from the cache. Errors as of `load`."""
    wanted = None if identities is None else frozenset(identities)
    return _frames(where, collect(connect(*place(where)), wanted, fresh=True))


def _frames(where: str, runs: Runs) -> Frames:
    counting = by_identity(runs)
    duplicates: dict[str, list[str]] = {}
    for run in runs.values():
        if not run.foreign and counting[run.cell["identity"]] is not run:
            duplicates.setdefault(run.cell["identity"], []).append(run.attempt["url"])
    foreign = sum(run.foreign for run in runs.values())
    return replace(frames(Path(where), counting), foreign=foreign, duplicates=duplicates)
