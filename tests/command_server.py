"""The product's commands without their imports: a process that has made them, and forks itself for each command.

`server().run("run.py", "seed=0")` is `python run.py seed=0`, and `server().run("-m", "reports")` is
`python -m reports`. A child runs the command's own file as `__main__`, in a session of its own, so that nothing but the
imports is shared, and ends as the interpreter would, but without taking apart what was imported: that takes 0.2 s.
A start of Python, PyTorch and Lightning takes 6 s of a core, a fork a hundredth of one; what a test says of imports,
of signals during them, or of variables that libraries read when they are loaded, needs a real start.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from small import ROOT, heed_permissions

MODULES = ("ablations", "reports", "slurm")


class Started:
    """A command that has begun, with the part of subprocess.Popen that tests use."""

    def __init__(self, server: Server, pid: int, folder: tempfile.TemporaryDirectory[str]) -> None:
        self._server, self.pid, self._folder = server, pid, folder
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or -N after signal N, once it has ended."""
        if self.returncode is None:
            self.returncode = self._server.ask(pid=self.pid)
        return self.returncode

    def said(self) -> tuple[str, str]:
        """Standard output and standard error so far."""
        out, err = (Path(self._folder.name, name).read_text("utf-8") for name in ("stdout", "stderr"))
        return out, err

    def send_signal(self, number: int) -> None:
        """To this process alone, while it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it said, at its end; killed, with TimeoutExpired, if that is not within `timeout` seconds."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired("a command", timeout, *self.said())
            time.sleep(0.02)
        return self.said()


class Server:
    """Starts commands. heeds: root, too, gets no further there than the permissions of files allow."""

    def __init__(self, heeds: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=heed_permissions if heeds else None,
        )

    def ask(self, **request: object) -> int | None:
        """A request as `serve` takes it, and its answer."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer

    def start(self, *words: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Started:
        """`python WORDS` in a folder, with this environment (by default, that of this process)."""
        folder = tempfile.TemporaryDirectory()
        environment = dict(os.environ if env is None else env)
        os.umask(umask := os.umask(0))
        pid = self.ask(words=words, cwd=str(cwd), env=environment, umask=umask, said=folder.name)
        assert pid
        return Started(self, pid, folder)

    def run(
        self, *words: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None, timeout: float = 240
    ) -> subprocess.CompletedProcess[str]:
        """As `start`, to its end."""
        started = self.start(*words, cwd=cwd, env=env)
        said = started.communicate(timeout)
        assert started.returncode is not None
        return subprocess.CompletedProcess(words, started.returncode, *said)


@functools.cache
def server(heeds: bool = False) -> Server:
    """The one of this process, with which it ends."""
    return Server(heeds)


def become(words: list[str], cwd: str, env: dict[str, str], umask: int, said: str) -> None:
    """Be the command, as `python WORDS` would."""
    os.umask(umask)
    for descriptor, name in enumerate(("stdout", "stderr"), start=1):
        os.dup2(os.open(Path(said, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    module = words[0] == "-m"
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    sys.path[:1] = [cwd if module else str(ROOT), *paths]
    if module:
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [str(ROOT / words[0]), *words[1:]]
        runpy.run_path(sys.argv[0], run_name="__main__")


def run(**request: Any) -> int:
    """Be the command; its exit code."""
    code: object = None
    os.setsid()
    try:
        become(**request)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    return (code & 0xFF) if isinstance(code, int) else int(code is not None)


def serve() -> None:
    """Answer until standard input ends: what `become` takes with a process id, {pid} with its exit code or null.

    said: the folder for the files `stdout` and `stderr`.
    """
    sys.path.insert(0, str(ROOT))
    import ablations.__main__  # noqa: F401
    import hydra_plugins.residual_ablations  # noqa: F401
    import lightning_module.fit  # noqa: F401
    import reports.__main__  # noqa: F401
    import run as door  # noqa: F401
    import slurm.__main__  # noqa: F401

    for module in MODULES:  # runpy warns of it
        del sys.modules[f"{module}.__main__"]
    del sys.path[0]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as before the imports
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "pid" in request:
            ended, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        elif not (answer := os.fork()):
            os._exit(run(**request))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
