"""What is typed, and what is said: one table, each row run through the real door.

A row: (command line as typed into bash, exit code, words that appear, words that do not). The commands are
`run.py …` (python run.py …) and `ablations …`, `reports …`, `slurm …` (python -m …), in an empty folder whose path is
$HOME, with NAME=value before them for the environment. For every row: no traceback; with exit code 2, one line on
stderr and nothing in the folder. A row costs about 0.1 s, if it trains nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import command_server
import pytest

from lightning_module.support.disk import cache_folder

Row = tuple[str, int, list[str], list[str]]

ROWS: list[Row] = [
    # A value that does not fit
    ("run.py model.depth=57", 2, ["model.depth=57", "56 and 62"], []),
    ("run.py data=cifar11", 2, ["data=cifar11 is not known", "did you mean cifar10?"], []),
    ("run.py model.depth=20,56", 2, ["model.depth=20,56 lists several values", "-m"], []),
    # Showing
    ("run.py --cfg job model.depth=56", 0, ["depth: 56"], []),
    ("run.py --help", 0, ["plain_cifar", "residual-ablations"], []),
    ("ablations --help", 0, ["plan", "why"], []),
    ("ablations plan depth seed=0", 0, ["6 cells"], []),
    # Other commands
    ("reports nothing", 2, ["nothing is neither a sweep in runs nor a study"], []),
    ("slurm status", 2, ["--runs runs is not a folder"], []),
]


@dataclass(frozen=True)
class Done:
    """What a command line gave. here: the folder that it ran in."""

    code: int
    stdout: str
    stderr: str
    here: Path


def words_of(line: str, here: Path) -> tuple[list[str], dict[str, str]]:
    """The words of a command line, and the environment in front of them, as bash reads it."""
    script = 'printf "%s\\0" ' + line
    environment = {"PATH": os.environ["PATH"], "HOME": str(here)}
    bash = ["bash", "--norc", "-c", script]
    said = subprocess.run(bash, cwd=here, env=environment, capture_output=True, text=True, check=True).stdout
    words = said.split("\0")[:-1]
    first = next(index for index, word in enumerate(words) if "=" not in word)
    typed = dict(word.split("=", 1) for word in words[:first])
    return words[first:], {"HOME": str(here), "XDG_CACHE_HOME": str(cache_folder().parent), **typed}


@pytest.fixture(scope="session")
def server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, command_server.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def typed(server: subprocess.Popen[str], tmp_path: Path) -> Callable[[str], Done]:
    """A command line, as typed into bash in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()

    def run(line: str) -> Done:
        words, environment = words_of(line, here)
        assert server.stdin and server.stdout
        print(json.dumps([words, str(tmp_path), environment]), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return Done(code, *((tmp_path / name).read_text() for name in ("stdout", "stderr")), here)

    return run


@pytest.mark.parametrize(("line", "code", "said", "unsaid"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_typed_and_what_is_said(typed, line, code, said, unsaid):
    done = typed(line)
    everything = done.stdout + done.stderr
    assert "Traceback" not in everything, everything
    assert done.code == code, everything
    assert [words for words in said if words not in everything] == [], everything
    assert [words for words in unsaid if words in everything] == [], everything
    if code == 2:
        assert done.stderr.startswith("usage: ") or len(done.stderr.splitlines()) == 1, done.stderr
        assert not list(done.here.iterdir()), "nothing may have been started"
