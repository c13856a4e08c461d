"""What each program of ours does around its main: output that may fail, warnings that are seen, a quiet Ctrl-C."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import logging
import os
import re
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

from lightning_module.support.errors import ConfigError, log, tell

SURROGATE = re.compile("[\\ud800-\\udfff]")
"""What Python makes of bytes that are no text in the locale's encoding."""
WARNING = "warning: "
"""How a line begins that warns the user."""
NEW_OBJECTS = 50_000
"""After which Python looks for garbage. With its own 700, a tenth of a start with PyTorch and Lightning goes into
looking through objects that stay for good."""


class Output(io.RawIOBase):
    """Bytes to a file descriptor, for as long as that takes them; error: why it did not, the first time.

    What cannot be written (a closed pipe, a full disk, a terminal that is gone) is dropped: nothing that
    is printed may end a run.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The file descriptor."""
        return self.descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self.descriptor)

    def write(self, data: Any) -> int:
        """Write, or drop, all of it."""
        rest = memoryview(data).cast("B")
        whole = len(rest)
        while rest:
            try:
                rest = rest[os.write(self.descriptor, rest) :]
            except BlockingIOError:  # a pipe that somebody made non-blocking: its reader is slow
                select.select([], [self.descriptor], [])
            except OSError as error:
                self.error = self.error or error
                break
        return whole


class _Warnings(logging.Handler):
    """One line for each warning, on standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(WARNING + " ".join(record.getMessage().split()), file=sys.stderr)


def start_program() -> Output:
    """Standard output and error that never raise, in any locale, and a place for warnings; -> standard output.

    A line is written when it ends, so that a program that is killed has said what it said.
    """
    gc.set_threshold(NEW_OBJECTS)
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller: the next file that is opened would be in its place
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    outputs = []
    for name in ("stdout", "stderr"):
        before = getattr(sys, name)
        output = Output(1 if name == "stdout" else 2)
        encoding = before.encoding if before else "utf-8"
        text = io.TextIOWrapper(
            output,  # type: ignore[type-var]
            encoding,
            "replace",
            line_buffering=True,
            write_through=bool(before and before.write_through),
        )
        setattr(sys, name, text)
        outputs.append(output)
    log.addHandler(_Warnings())
    atexit.register(_keep_exit_code)  # the first that is registered, so the last that is called
    return outputs[0]


def _keep_exit_code() -> None:
    """Signals come too late now: while Python takes itself apart, their default would replace the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _read_arguments() -> None:
    """Start again in Python's UTF-8 mode where the locale cannot read the arguments (POSIX, without a coercion).

    They would be surrogates, which no file in UTF-8 can hold. ConfigError for what is no text in UTF-8 either.
    """
    strange = [text for text in sys.argv[1:] if SURROGATE.search(text)]
    if strange and sys.getfilesystemencoding() != "utf-8":
        shown = os.environ.get("PYTHONIOENCODING") or sys.stdout.encoding
        modes = {"PYTHONUTF8": "1", "PYTHONIOENCODING": shown}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **modes})
    for text in strange:
        bytes_shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise ConfigError(f"{bytes_shown} is not text in UTF-8; type it, or name the file, in UTF-8")


@contextlib.contextmanager
def program() -> Iterator[None]:
    """Around the whole of a program. Ctrl-C ends it with 130, without a traceback.

    What it could not say changes the exit code of a success to that of any Unix program: 141 (SIGPIPE) when the
    reader has left, as in `… | head -1`, else 1 and a sentence.
    """
    output = start_program()
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _read_arguments()
        yield
    except ConfigError as error:
        sys.exit(tell(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:
        if end.code:
            raise
    sys.stdout.flush()
    if output.error and output.error.errno == errno.EPIPE:
        sys.exit(128 + signal.SIGPIPE)
    if output.error:
        print(f"error: standard output cannot be written ({output.error.strerror})", file=sys.stderr)
        sys.exit(1)
