"""The cache of parsed runs, of every source: one npz file of the histories' numbers, and all else as JSON.

It needs numpy alone, and is as fast as parquet on 10,000 runs of 200 epochs (benchmarks/report_speed.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ablations.sweep.manifest import Manifest
from lightning_module.support.command_line import command, in_hydra
from lightning_module.support.disk import whole_file
from lightning_module.support.errors import ConfigError
from reports.sources._frames import ParsedRun

VERSION = 6
"""Raise it when a file of before would be read as something else."""


def read_cache(path: Path) -> tuple[dict[str, ParsedRun], str]:
    """What `write_cache` kept there; {} and "" if nothing is usable."""
    if not path.is_file():  # to read a pipe would be to wait for ever
        return {}, ""
    try:
        with np.load(path, allow_pickle=False) as file:
            text, seal, numbers = file["index"].tobytes(), file["seal"].tobytes(), file["numbers"]
        if seal != _seal(text) or numbers.dtype != np.float64:
            return {}, ""
        index = json.loads(text)
        runs, start = {}, 0
        for identity, fields in index["runs"].items():
            names, length = tuple(fields["names"]), fields["rows"]
            stop = start + length * len(names)
            rows = numbers[start:stop].reshape(length, len(names))
            runs[identity] = ParsedRun(**{**fields, "names": names, "rows": rows})
            start = stop
        return (runs, index["mark"]) if start == numbers.size else ({}, "")
    except Exception:  # whatever is in that file: without it everything is parsed again
        return {}, ""


def write_cache(path: Path, runs: Mapping[str, ParsedRun], mark: str = "") -> None:
    """Keep parsed runs by identity, and a mark of the source's own; where that cannot be done, do without."""
    fields = {identity: vars(run) | {"rows": len(run.rows)} for identity, run in runs.items()}
    text = json.dumps({"mark": mark, "runs": fields}).encode()
    index, seal = (np.frombuffer(part, np.uint8) for part in (text, _seal(text)))
    numbers = np.concatenate([np.empty(0), *(run.rows.ravel() for run in runs.values())])
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():  # an empty one; what somebody keeps there stays
            path.rmdir()
        with whole_file(path) as file:
            np.savez(file, index=index, seal=seal, numbers=numbers)


def _seal(index: bytes) -> bytes:
    """What tells an index of this version from any other text."""
    return hashlib.sha256(b"%d" % VERSION + index).digest()


def runs_in_folder(
    where: str,
    manifest: Manifest | None,
    cache: str,
    files: Callable[[Path], Iterable[Path]],
    parse: Callable[[Path], ParsedRun],
) -> dict[str, ParsedRun]:
    """identity -> run, of those run folders in the folder `where` that the manifest names (all: None).

    cache: name of the cache file in that folder. files: what parse reads of a run folder; it is asked again when
    their sizes or times are others than in the cache. A run folder without them is no run of this source.
    Raises ConfigError if the folder cannot be read.
    """
    folder = Path(where)
    if not folder.is_dir():
        raise ConfigError(
            f"runs={where} is not a folder; train something first:  {command('run', f'runs={in_hydra(where)}')}"
        )
    try:
        present = {entry.name for entry in os.scandir(folder)}
    except OSError as error:
        raise ConfigError(f"runs={where} cannot be read ({error.strerror})") from error
    wanted = present if manifest is None else present & {cell["identity"] for cell in manifest.cells}
    cached, _ = read_cache(folder / cache)
    runs = {}
    for name in sorted(wanted):
        paths = list(files(folder / name))
        key = _sizes_and_times(paths)
        if name in cached and cached[name].key == key:
            runs[name] = cached[name]
        elif key:
            runs[name] = replace(parse(folder / name), key=key, checksum=_checksum(paths))
    if any(cached.get(name) is not run for name, run in runs.items()):
        write_cache(folder / cache, {n: run for n, run in (cached | runs).items() if n in present})
    return runs


def _sizes_and_times(paths: Iterable[Path]) -> str:
    """The state of those of these files that exist; "" if none does."""
    texts = []
    for path in paths:
        with contextlib.suppress(OSError):
            stat = path.stat()
            texts.append(f"{path.name}:{stat.st_size}:{stat.st_mtime_ns}")
    return " ".join(texts)


def _checksum(paths: Iterable[Path]) -> str:
    try:
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]
    except OSError:
        return ""
