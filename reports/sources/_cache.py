"""A cache of parsed runs: one parquet file, one row per run with what it was parsed from.

Its mark is for the source to use: how far it had looked when the cache was written.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reports.sources.records import Entry

VERSION = 2


def read_cache(path: Path) -> tuple[dict[str, tuple[str, Entry]], str]:
    """identity -> (what it was parsed from, the parsed run), and the mark; {} and "" if nothing is usable."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return {}, ""
    try:
        table = pq.read_table(path)
        if table.schema.metadata.get(b"version") != str(VERSION).encode():
            return {}, ""
        mark = table.schema.metadata.get(b"mark", b"").decode()
        columns = {name: table[name] for name in ("identity", "key", "head", "names", "values")}
    except (OSError, KeyError, pa.ArrowException):
        return {}, ""
    lists = columns["values"].combine_chunks()
    numbers, offsets = lists.values.to_numpy(), lists.offsets.to_numpy()
    cached = {}
    heads = json.loads(f"[{','.join(columns['head'].to_pylist())}]")
    texts = [columns[name].to_pylist() for name in ("identity", "key", "names")]
    for index, (identity, key, names, head) in enumerate(zip(*texts, heads, strict=True)):
        values = numbers[offsets[index] : offsets[index + 1]]
        shaped = values.reshape(-1, len(names)) if names else np.empty((0, 0))
        cached[identity] = (key, Entry((0, 0), head, tuple(names), shaped))
    return cached, mark


def write_cache(path: Path, runs: Mapping[str, tuple[str, Entry]], mark: str = "") -> None:
    """Replace the cache atomically; without pyarrow or a folder that can be written to there is none."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return

    pairs = runs.values()
    lengths = [entry.rows.size for _, entry in pairs]
    table = pa.table(
        {
            "identity": pa.array(list(runs), pa.string()),
            "key": pa.array([key for key, _ in pairs], pa.string()),
            "head": pa.array([json.dumps(entry.head) for _, entry in pairs], pa.string()),
            "names": pa.array([list(entry.names) for _, entry in pairs], pa.list_(pa.string())),
            "values": pa.ListArray.from_arrays(
                pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)),
                pa.array(np.concatenate([entry.rows.ravel() for _, entry in pairs] or [np.empty(0)])),
            ),
        }
    ).replace_schema_metadata({"version": str(VERSION), "mark": mark})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        os.close(handle)
        pq.write_table(table, temporary, compression="zstd")
        os.replace(temporary, path)
    except OSError:
        return
