"""`wandb sync` as child processes: a few files at a time, in bounded time, and what it said of those that failed.

Its exit code says nothing, and it tries for ever: against a server that does not answer, one that refuses the data,
or a run that was deleted there. So each child has a time limit, which grows with what it is given, and is ended
with its own children. Whether the runs arrived is for the caller to see.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from pathlib import Path
from types import FrameType

from lightning_module.support.errors import ConfigError
from lightning_module.support.text import visible
from lightning_module.tracking.patience import said
from lightning_module.tracking.wandb_environment import environment
from lightning_module.tracking.wandb_server import Server

CHUNK = 40
"""Files per call."""
START, PER_FILE, PER_BYTE = 60.0, 10.0, 1e-5
"""Seconds that a call may take: so many, and so many for each file and each of its bytes."""
QUIET = ("WANDB_SILENT", "WANDB_QUIET")
"""Variables with which wandb would not say what goes wrong."""
LONGEST = 300
"""Characters of what it said."""


@dataclass(frozen=True)
class Upload:
    """A `.wandb` file, and the id of the run that it becomes on W&B."""

    file: Path
    run_id: str

    @property
    def renamed(self) -> bool:
        """Whether the run in the file has another id."""
        return self.file.name != f"run-{self.run_id}.wandb"


def installed() -> str:
    """The version of the wandb package; ConfigError without one."""
    try:
        return metadata.version("wandb")
    except metadata.PackageNotFoundError:
        raise ConfigError("sync needs the wandb package; run `pip install wandb`") from None


def push(uploads: Iterable[Upload], server: Server, entity: str, project: str) -> dict[str, str]:
    """Push these; run id -> what `wandb sync` said of it, for those of which it said something bad.

    A call that reached its time limit without one whole run is the last: the server takes nothing.
    """
    from tqdm import tqdm

    waiting = sorted(uploads, key=lambda upload: upload.renamed)
    trouble: dict[str, str] = {}
    with tqdm(total=len(waiting), unit="run", disable=None) as bar:
        for part in list(_parts(waiting)):
            told, whole = _call(part, server, entity, project)
            trouble |= told
            bar.update(len(part))
            del waiting[: len(part)]
            if not whole:
                trouble |= {upload.run_id: "not tried after that" for upload in waiting}
                break
    return trouble


def _parts(uploads: Sequence[Upload]) -> Iterable[Sequence[Upload]]:
    """What one call takes: several files, or one that gets another id."""
    for renamed, group in groupby(uploads, lambda upload: upload.renamed):
        part = list(group)
        size = 1 if renamed else CHUNK
        yield from (part[start : start + size] for start in range(0, len(part), size))


def _call(part: Sequence[Upload], server: Server, entity: str, project: str) -> tuple[dict[str, str], bool]:
    """One call: what it said of its runs, as in `push`, and whether it came to its end or brought a run to one."""
    limit = START + sum(PER_FILE + PER_BYTE * upload.file.stat().st_size for upload in part)
    program = [sys.executable, "-m", "wandb", "sync", "-e", entity, "-p", project]
    program += ["--include-synced", "--include-online"]
    if part[0].renamed:
        program += ["--id", part[0].run_id]
    program += [str(upload.file.parent.resolve()) for upload in part]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        (Path(scratch) / "wandb").mkdir()
        variables = environment(server.address, server.account.key)
        variables = {key: value for key, value in variables.items() if key not in QUIET}
        with said(f"wandb sync of {len(part)} run{'s' * (len(part) > 1)}", limit):
            text, ended = run(program, limit, cwd=scratch, env=variables | {"WANDB_DIR": scratch})
        retried = _retried(Path(scratch))
    trouble = {}
    for upload in part:
        why = _why(text, upload, [other.run_id for other in part])
        if not ended and not _finished(text, upload):
            why = f"stopped at its time limit, {limit:.0f} s; " + (
                retried.get(str(upload.file.resolve())) or why
            )
        if why:
            trouble[upload.run_id] = visible(why.removesuffix("; "))[:LONGEST]
    return trouble, ended or any(_finished(text, upload) for upload in part)


def run(program: Sequence[str], limit: float, cwd: str, env: Mapping[str, str]) -> tuple[str, bool]:
    """What a child process says, and whether it came to its end in so many seconds; else it is killed.

    So are its children, and theirs, also when we are interrupted or ended.
    """
    with _ended_by_exceptions(), tempfile.TemporaryFile() as output:  # a pipe is held open by whoever is left
        child = subprocess.Popen(
            program,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            child.wait(limit)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
        finally:
            if child.returncode is None:
                kill(child)
        output.seek(0)
        return output.read().decode(errors="replace"), ended


@contextlib.contextmanager
def _ended_by_exceptions() -> Iterator[None]:
    """SIGTERM and SIGHUP as Ctrl-C: a child that leads a group of its own would outlive us, and try for ever."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    ours = threading.current_thread() is threading.main_thread()
    usual = [n for n in (signal.SIGTERM, signal.SIGHUP) if ours and signal.getsignal(n) == signal.SIG_DFL]
    for number in usual:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in usual:
            signal.signal(number, signal.SIG_DFL)


def kill(child: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and all that it started: some make groups of their own."""
    family = _descendants(child.pid)
    for end, whom in ((os.killpg, child.pid), *((os.kill, pid) for pid in family)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(whom, signal.SIGKILL)
    child.wait()


def _descendants(pid: int) -> list[int]:
    """Processes below this one; elsewhere than on Linux none: there it is its group that is killed."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(path.parent.name))
    family = [pid]
    for one in family:
        family += children.get(one, [])
    return family[1:]


def _finished(text: str, upload: Upload) -> bool:
    """Whether wandb says (0.30 and later, earlier) that it is done with a run."""
    folder, end = upload.file.parent.name, f"/{upload.run_id} ... done."
    return any(end in line or ("Finished syncing" in line and folder in line) for line in text.splitlines())


def _why(text: str, upload: Upload, every: Sequence[str]) -> str:
    """What it said was wrong with this run, or with whichever: of earlier versions it cannot be told."""
    lines = [line.partition("ERROR ")[2].strip() for line in text.splitlines() if "ERROR " in line]
    lines = [line for line in lines if not line.startswith("Find detailed error logs")]
    own = [line for line in lines if upload.run_id in line]
    general = [line for line in lines if not any(run_id in line for run_id in every)]
    lost = [line for line in text.splitlines()[-1:] if "Error" in line and "ERROR " not in line]
    return "; ".join(dict.fromkeys(own or general or lost))


def _retried(scratch: Path) -> dict[str, str]:
    """Path of a file -> the failure for which wandb tried again last; of versions that keep such a log."""
    told: dict[str, str] = {}
    for path in scratch.glob("wandb/logs/debug-sync*.log"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if "retrying" in line:
                with contextlib.suppress(ValueError, AttributeError):
                    entry = json.loads(line)
                    status = f"HTTP {entry['status']}: " if "status" in entry else ""
                    told[entry.get("sync_path", "")] = status + str(
                        entry.get("body") or entry.get("error", "")
                    )
    return told
