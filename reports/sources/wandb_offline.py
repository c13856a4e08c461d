"""Source `wandb-offline`: the `.wandb` files in a runs folder, read without server or sync.

A `.wandb` file is a LevelDB log: a 7-byte header, then blocks of 32 KiB, in them chunks of CRC32, length,
kind and data; joined chunks are protobuf records (the message types ship in the wandb package). Each attempt
of a cell is a file of its own; `merged` makes one run of them. A file that is cut off (a killed run) or
damaged is read up to that point, and the run's reason says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablations.sweep.manifest import Manifest
from lightning_module.cell import record
from lightning_module.support.errors import ConfigError
from reports.sources import Frames, records
from reports.sources._cache import read_cache, write_cache
from reports.sources._wandb_rows import entry
from reports.sources.records import Entry

HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK = 32768
CHUNK = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
CACHE = ".wandb-offline.parquet"


@dataclass
class Fragment:
    """What one `.wandb` file holds: one attempt, as far as it can be read.

    rows and system: one mapping per logged row of metrics and of machine metrics. exit: the exit code, None
    if the process did not get to say. damage: one sentence, "" for a whole file; cut: the file just ends.
    """

    path: Path
    identity: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    system: list[dict[str, Any]] = field(default_factory=list)
    exit: int | None = None
    damage: str = ""
    cut: bool = False


class Damage(Exception):
    """A log that cannot be read further. cut: it ends in the middle of a record, as after a kill."""

    def __init__(self, text: str, cut: bool = False) -> None:
        super().__init__(text)
        self.cut = cut


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log with W&B's header; Damage where they end too early."""
    if data[: len(HEADER)] != HEADER:
        raise Damage(
            "is empty" if not data else "is not a .wandb file of a known version",
            cut=not data,
        )
    position, parts = len(HEADER), b""
    while position < len(data):
        left = BLOCK - position % BLOCK
        if left < CHUNK.size:
            position += left
            continue
        if position + CHUNK.size > len(data):
            raise Damage(f"ends in the middle of a record, at byte {len(data)}", cut=True)
        checksum, length, kind = CHUNK.unpack_from(data, position)
        start = position + CHUNK.size
        body = data[start : start + length]
        if length > left - CHUNK.size or kind not in (FULL, FIRST, MIDDLE, LAST):
            raise Damage(f"is damaged at byte {position}")
        if len(body) < length:
            raise Damage(f"ends in the middle of a record, at byte {len(data)}", cut=True)
        if zlib.crc32(body, zlib.crc32(bytes([kind]))) != checksum:
            raise Damage(f"is damaged at byte {position} (wrong checksum)")
        parts = body if kind in (FULL, FIRST) else parts + body
        if kind in (FULL, LAST):
            yield parts
        position = start + length


def read_fragment(path: Path) -> Fragment:
    """One `.wandb` file, as far as it can be read; never raises for what the file holds."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    fragment = Fragment(path)
    try:
        for data in log_records(path.read_bytes()):
            _apply(fragment, Record.FromString(data))
    except Damage as damage:
        fragment.damage, fragment.cut = f"{path.name} {damage}", damage.cut
    except (DecodeError, OSError, ValueError) as error:
        fragment.damage = f"{path.name} cannot be read further ({error})"
    return fragment


def _apply(fragment: Fragment, item: Any) -> None:
    """Add what one protobuf record says."""
    kind = item.WhichOneof("record_type")
    if kind == "history":
        row = {_key(entry)[-1]: _value(entry) for entry in item.history.item}
        fragment.rows.append(row)
        fragment.summary.update(row)
    elif kind == "summary":
        _update(fragment.summary, item.summary)
    elif kind == "config":
        _update(fragment.config, item.config)
    elif kind == "stats":
        row = {"_timestamp": item.stats.timestamp.seconds + item.stats.timestamp.nanos / 1e9}
        fragment.system.append(row | {entry.key: json.loads(entry.value_json) for entry in item.stats.item})
    elif kind == "run":
        run = item.run
        fragment.identity = run.run_id
        names = ("entity", "project", "display_name", "run_group", "job_type")
        fragment.about = {name: getattr(run, name) for name in names} | {"tags": list(run.tags)}
        fragment.about["start"] = run.start_time.seconds + run.start_time.nanos / 1e9
        _update(fragment.config, run.config)
    elif kind == "exit":
        fragment.exit = item.exit.exit_code


def _key(item: Any) -> Sequence[str]:
    return tuple(item.nested_key) or (item.key,)


def _value(item: Any) -> Any:
    """The value of a history item: JSON, or one of the typed fields of wandb 0.31."""
    if item.value_json:
        return json.loads(item.value_json)
    kind = next(
        (name for name in ("boolean", "integer", "number", "text", "json") if item.HasField(name)),
        None,
    )
    value = getattr(item, kind) if kind else None
    return json.loads(str(value)) if kind == "json" else value


def _update(tree: dict[str, Any], change: Any) -> None:
    """Apply a configuration or summary record: updates and removals of (nested) keys."""
    for item in change.update:
        *parents, leaf = _key(item)
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = json.loads(item.value_json)
    for item in change.remove:
        *parents, leaf = _key(item)
        branch = tree
        for parent in parents:
            branch = branch.get(parent, {})
        branch.pop(leaf, None)


def merged(fragments: Sequence[Fragment]) -> Fragment:
    """The attempts of one run, oldest first, as one: later values win, rows one after the other."""
    whole = Fragment(fragments[-1].path)
    for fragment in fragments:
        whole.identity = fragment.identity or whole.identity
        whole.about |= fragment.about
        whole.config |= fragment.config
        whole.summary |= fragment.summary
        whole.rows += fragment.rows
        whole.system += fragment.system
    whole.exit = fragments[-1].exit
    notes = [fragment.damage for fragment in fragments if fragment.damage]
    whole.damage = "; ".join(notes)
    whole.cut = bool(notes) and all(fragment.cut for fragment in fragments if fragment.damage)
    return whole


def files(folder: Path) -> list[Path]:
    """The `.wandb` files of one run folder, oldest attempt first (online attempts leave them too)."""
    return sorted(
        folder.glob("wandb/*run-*/run-*.wandb"),
        key=lambda path: path.parent.name.split("run-", 1)[1],
    )


def read_run(folder: Path) -> Fragment | None:
    """All attempts in one run folder as one; None if it holds no `.wandb` file."""
    fragments = [read_fragment(path) for path in files(folder)]
    return merged(fragments) if fragments else None


def _entry(folder: Path) -> Entry:
    """One run folder, read for the cache."""
    run = read_run(folder)
    assert run is not None
    digest = hashlib.sha256()
    for path in files(folder):
        digest.update(path.read_bytes())
    damage = run.damage
    if not run.config and not damage:
        damage = f"{run.path.name} holds no configuration"
    whole = run.summary.get("status") in record.FINAL  # then a later attempt made good what was damaged
    return entry(
        folder.name,
        run.config,
        run.summary,
        run.rows,
        damage="" if whole or (run.cut and run.config) else damage,
        checksum=digest.hexdigest()[:12],
        note=damage,
    )


def _stamp(paths: Iterable[Path]) -> str:
    """Names, sizes and times of files: what a cached parse of them is good for."""
    return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in paths)


def load(where: str, manifest: Manifest | None) -> Frames:
    """Runs, histories and events of the `.wandb` files below a runs folder; ConfigError if it is none."""
    folder = Path(where)
    if not folder.is_dir():
        raise ConfigError(f"runs={where} is not a folder; train something first with python run.py")
    wanted = None if manifest is None else {cell["identity"] for cell in manifest.cells}
    found = sorted({path.parent for path in folder.glob("*/wandb") if path.is_dir()})
    cached, _ = read_cache(folder / CACHE)
    fresh: dict[str, tuple[str, Entry]] = {}
    for run in found:
        paths = files(run) if wanted is None or run.name in wanted else []
        if paths:
            stamp = _stamp(paths)
            old = cached.get(run.name)
            fresh[run.name] = old if old is not None and old[0] == stamp else (stamp, _entry(run))
    if not fresh and wanted is None:
        raise ConfigError(f"runs={where} holds no W&B files (RUN/wandb/*/run-*.wandb); use --source records")
    if any(cached.get(name) is not pair for name, pair in fresh.items()):
        write_cache(folder / CACHE, cached | fresh)
    entries = {name: pair[1] for name, pair in fresh.items()}
    frames = records.frames(folder, entries)
    notes = [entries[name].head["note"] for name in frames.runs["identity"]]
    reasons = zip(notes, frames.runs["reason"], strict=True)
    return replace(frames, runs=frames.runs.assign(reason=[text or note for note, text in reasons]))


def load_newest(where: str, names: Iterable[str]) -> Frames:
    """What the newest file of each of these runs holds by itself; a run without files is not there."""
    newest = {name: paths[-1] for name in sorted(names) if (paths := files(Path(where) / name))}
    entries = {}
    for name, path in newest.items():
        last = read_fragment(path)
        entries[name] = entry(name, last.config, last.summary, last.rows, damage=last.damage)
    return records.frames(Path(where), entries)
