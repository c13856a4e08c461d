"""What a sweep declared, as the W&B runs of its cells carry it.

A project on W&B has no other place for the cells that never ran. Each run holds, in its configuration under
`sweeps`, by name of a sweep that asked for its cell: the command, how many cells there are, when that was declared,
and its whole manifest, packed: about 2 kB for 24 cells. Of a larger sweep, every second, third, ... cell carries it,
so that it costs each run about that.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from lightning_module.support.disk import read_file

SHARE = 50
"""Cells of a sweep for which one of its runs carries what it declared: 3 kB, and less for each cell of a larger one."""
LARGEST = 1 << 26
"""Bytes of a manifest beyond which nothing is unpacked: 30,000 cells."""


def carried(folder: Path) -> dict[str, dict[str, Any]]:
    """What the W&B run of this run folder is to carry, by name of the sweep, the one declared last first.

    The manifests lie beside the run folder, in `sweeps`; what cannot be read there is left out.
    """
    found = []
    for path in (folder.parent / "sweeps").glob("*.json"):
        try:
            text = read_file(path)
            manifest = json.loads(text) if folder.name.encode() in text else {}
            cells = [cell["identity"] for cell in manifest.get("cells", ())]
            if folder.name in cells:
                declared = path.stat().st_mtime
                found.append((declared, path.stem, manifest, cells.index(folder.name)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
    sweeps = {}
    for declared, name, manifest, index in sorted(found, key=lambda each: (-each[0], each[1])):
        sweeps[name] = {
            "command": manifest.get("command"),
            "study": manifest.get("study"),
            "cells": len(manifest["cells"]),
            "declared": declared,
        }
        if carries(len(manifest["cells"]), index):
            sweeps[name]["manifest"] = pack(manifest)
    return sweeps


def carries(cells: int, index: int) -> bool:
    """Whether, in a sweep of so many cells, the run of the one of this index (0, 1, ...) carries what it declared."""
    return index % (1 + cells // SHARE) == 0


def pack(manifest: Any) -> str:
    """A manifest as one short text."""
    return base64.b64encode(zlib.compress(json.dumps(manifest, separators=(",", ":")).encode(), 9)).decode()


def unpack(text: str) -> Any:
    """What `pack` was given; ValueError for any other text."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(base64.b64decode(text, validate=True), LARGEST)
        if not stream.eof:
            raise ValueError("it does not end")
        return json.loads(content)
    except (zlib.error, RecursionError) as error:
        raise ValueError(str(error)) from error


def group(sweeps: dict[str, dict[str, Any]]) -> str | None:
    """The W&B group of a run that carries these: the study or the name of what was declared last; None of one cell."""
    newest = next(iter(sweeps.items()), None)
    if newest is None:
        return None
    name, about = newest
    return about["study"] or (name if about["cells"] > 1 else None)
