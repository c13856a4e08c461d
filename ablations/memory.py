"""What is slow to find out and never changes while its sources do not, kept in the user's cache folder.

It is only a memory: a file that cannot be read or written is done without, and one whose sources have changed
is not looked at again, because its name has their digest.
"""

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


class Memory:
    """A mapping from texts to JSON values, for as long as the contents of some files stay as they are."""

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
