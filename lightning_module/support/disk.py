"""Files: written whole or not at all, locked while somebody works with them, kept where they are slow to make."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lightning_module.support.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the rooms and conf/."""

READERS_SECONDS = 1.0
"""How long a writer waits for readers of its lock to look."""


@contextlib.contextmanager
def whole_file(path: Path, durable: bool = False) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of `path` at the end: readers see the old content or the new one.

    durable: the content is on the disk before, so that a power failure leaves the one or the other too. After an
    exception the old content stays. Its permissions are those of any new file: colleagues read one runs folder.
    """
    temporary = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_file(path: Path) -> bytes:
    """The content of a file; OSError for what is none, such as a pipe, for whose writer one would wait for ever."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return path.read_bytes()


def write_json(path: Path, content: Any) -> None:
    """Replace a file by JSON, whole and durable."""
    with whole_file(path, durable=True) as file:
        file.write(json.dumps(content, indent=1).encode())


class Busy(Exception):
    """Another process holds the lock."""


_HELD: set[int] = set()


def _leave_locks_to_parent() -> None:
    """In a process that was forked, such as one that decodes images: else it would hold the lock longer than we do."""
    for handle in _HELD:
        os.close(handle)
    _HELD.clear()


os.register_at_fork(after_in_child=_leave_locks_to_parent)


def no_folder(path: Path) -> str:
    """Why a path can name no folder, as words to stand after it; "" if it is one, or is not there yet."""
    for place in (path, *path.parents):
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"cannot be a folder ({error.strerror})"
        if is_folder:
            return ""
        return (
            "is a file, not a folder" if place == path else f"is below {place}, which is a file, not a folder"
        )
    return ""


class Lock:
    """A lock file in a folder; the kernel releases it however the process ends. `with Lock(folder): ...`

    Raises Busy if another process still holds it after `patience` seconds, ConfigError if the folder is not writable
    or cannot be locked.
    """

    def __init__(self, folder: Path, file: str = "lock", patience: float = READERS_SECONDS) -> None:
        self.folder, self.file, self.patience = folder, file, patience
        self.handle = -1

    def __enter__(self) -> Lock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.handle = os.open(self.folder / self.file, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ConfigError(
                f"runs={self.folder.parent} is not a folder one can write to ({error.strerror}); "
                "choose another with runs=FOLDER"
            ) from error
        # A reader holds it for a moment to find out whether anybody else does: see is_held.
        end = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _HELD.add(self.handle)
                return self
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(self.handle)
                    raise Busy(f"{self.folder.name} is being run by another process: left to it") from None
                time.sleep(0.01)
            except OSError as error:
                os.close(self.handle)
                raise ConfigError(
                    f"runs={self.folder.parent} is on a file system that cannot lock files ({error.strerror}); "
                    "choose another with runs=FOLDER, or mount it with locks (Lustre: -o flock)"
                ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _HELD.discard(self.handle)
        os.close(self.handle)


def is_held(path: Path) -> bool:
    """Whether a process of this machine (or of any, where the file system shares locks) holds this lock file."""
    try:
        handle = os.open(path, os.O_RDONLY)  # it may be another user's
    except OSError:
        return False  # never run, or not for us to read
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """Where this program keeps what is slow to make: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "residual-ablations"


class DiskCache:
    """A mapping from texts to JSON values, for as long as the contents of its source files stay as they are.

    The name of its file holds a digest of the sources, so that a change of them starts another. A file that cannot
    be read or written is done without: whatever is missing is computed again. folder: the user's cache if None.
    """

    def __init__(self, name: str, sources: Iterable[Path], folder: Path | None = None) -> None:
        self._name, self._sources, self._folder = name, sources, folder

    @cached_property
    def _path(self) -> Path:
        digest = hashlib.sha256()
        for path in sorted(self._sources):
            digest.update(str(path).encode() + b"\0" + path.read_bytes())
        folder = self._folder or cache_folder()
        return folder / f"{self._name}-{digest.hexdigest()[:12]}.json"

    @cached_property
    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(read_file(self._path))
        except (OSError, ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}

    def get(self, key: str) -> Any:
        """The value kept for this key, None if there is none."""
        return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """Remember a value, here and for other processes."""
        self._known[key] = value
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path) as file:
                file.write(json.dumps(self._known).encode())
