"""Command lines: argparse whose mistakes are one sentence, and how a command is typed."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from lightning_module.support.disk import no_folder
from lightning_module.support.errors import ConfigError, nearest


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ConfigErrors, for the caller to say as any other."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's; a sub-command refuses what it does not know, for it knows what it allows.

        argparse takes a list of words in one place only; here options may stand between them.
        """
        known, extras = super().parse_known_args(args, namespace)
        for action in self._actions:
            if not action.option_strings and action.nargs in ("+", "*"):
                later = [word for word in extras if not word.startswith("-")]
                setattr(known, action.dest, [*getattr(known, action.dest), *later])
                extras = [word for word in extras if word.startswith("-")]
        if extras:
            self.error(f"unrecognized arguments: {' '.join(extras)}")
        return known, extras

    def error(self, message: str) -> NoReturn:
        """Raise the ConfigError."""
        refuse(self, message)


IN_OUR_WORDS: Mapping[str, str] = {
    r"^argument (--\S+): invalid int value: '(.*)'$": r"\1 \2 is not a whole number",
    r"^argument (--[\w-]+)\S*: ignored explicit argument '(.*)'$": r"\1 takes no value, such as \2; write \1",
    r"^argument (--\w+): .* (?:not|be) a folder.*$": r"\g<0>; choose another with \1 FOLDER",
}
"""What argparse says -> what is said here."""


def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """ConfigError for argparse's message; the nearest option is named for one that does not exist."""
    _, unknown, words = message.partition("unrecognized arguments: ")
    if unknown:
        first = words.split()[0].partition("=")[0]
        if first.startswith("-"):
            options = [text for text in parser._option_string_actions if text.startswith("--")]
            message = f"{words} is not understood by {parser.prog}; " + nearest(first, options)
        else:
            names = (one.metavar or one.dest.upper() for one in parser._actions if not one.option_strings)
            takes = next((f"one {name}" for name in names), "none")
            message = f"{first} is one word too many; {parser.prog} takes {takes}"
    if chosen := re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message):
        option, typed, allowed = chosen.groups()
        message = f"{option} {typed} is not known; " + nearest(typed, re.findall(r"[^, ']+", allowed))
    if lacking := re.fullmatch("the following arguments are required: (.*)", message):
        commands = [name for action in parser._actions for name in action.choices or ()]
        message = f"{parser.prog} needs {' or '.join(commands) or lacking[1]}; see {parser.prog} --help"
    if without := re.fullmatch(r"argument (\S+): expected (?:one|at least one) argument", message):
        (given,) = [action for action in parser._actions if "/".join(action.option_strings) == without[1]]
        value = ", ".join(given.choices or ()) or given.metavar or given.dest.upper()
        message = f"{without[1]} needs a value: {value}"
    for theirs, ours in IN_OUR_WORDS.items():
        message = re.sub(theirs, ours, message)
    raise ConfigError(message)


def folder(text: str) -> Path:
    """The folder that an option names, whether it exists yet or not."""
    path = Path(text)
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty text names no folder; . is the current one")
    if why := no_folder(path):
        raise argparse.ArgumentTypeError(f"{text} {why}")
    return path


CONSOLE = "residual-ablations"
"""The command that an installation provides; it takes the words below."""

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "run": ("python", "run.py"),
    **{name: ("python", "-m", "ablations", name) for name in ("list", "plan", "settle", "why", "units")},
    **{name: ("python", "-m", "slurm", name) for name in ("status", "logs", "cancel", "retry")},
    "report": ("python", "-m", "reports"),
    **{name: ("python", "-m", "reports", name) for name in ("audit", "sync")},
}
"""What can be done -> how it is typed in the repository."""

RUNS = Path("runs")
"""The runs folder of every command that is told no other."""

STUDIES = "folder, or package, of studies and networks of one's own"
"""What --studies names, as --help says it."""


def command(name: str, *words: str, runs: Path = RUNS) -> str:
    """How to type one of COMMANDS, for this program's user: to be pasted into a shell in the current folder."""
    program, here = COMMANDS[name], Path(sys.argv[0]).name
    if here == CONSOLE:
        program = (CONSOLE, name)
    elif name == "run" and here == "run.py":
        program = ("python", sys.argv[0])
    where = ["--runs", str(runs)] if runs != RUNS else []
    return shlex.join([*program, *words, *where])


def in_hydra(text: str) -> str:
    """A text as the value of an override, in quotes where Hydra needs them."""
    if re.fullmatch(r"[\w/.+-]+", text, re.ASCII):
        return text
    return '"' + re.sub(r'(\\*)(?="|$)', r"\1\1", text).replace('"', '\\"') + '"'
