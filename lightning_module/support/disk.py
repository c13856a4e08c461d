"""Files: what is slow to compute is kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the rooms and conf/."""


class DiskCache:
    """A mapping from texts to JSON values, for as long as the contents of its source files stay as they are.

    The name of its file holds a digest of the sources, so that a change of them starts another. A file that cannot
    be read or written is done without: whatever is missing is computed again.
    """

    def __init__(self, name: str, sources: Iterable[Path]) -> None:
        self._name, self._sources = name, sources

    @cached_property
    def _path(self) -> Path:
        digest = hashlib.sha256()
        for path in sorted(self._sources):
            digest.update(str(path).encode() + b"\0" + path.read_bytes())
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = Path(home).expanduser() / "residual-ablations"
        return folder / f"{self._name}-{digest.hexdigest()[:12]}.json"

    @cached_property
    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """Remember a value, here and for other processes."""
        self._known[key] = value
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, suffix=".tmp")
            with os.fdopen(handle, "w") as file:
                json.dump(self._known, file)
            os.replace(temporary, self._path)
