"""Command lines that are read by argparse: a mistake is one sentence, and a folder is one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from lightning_module.support.errors import ConfigError, nearest


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ConfigErrors, for the caller to say as any other."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's; a sub-command refuses what it does not know, for it knows what it allows."""
        known, extras = super().parse_known_args(args, namespace)
        if extras:
            self.error(f"unrecognized arguments: {' '.join(extras)}")
        return known, extras

    def error(self, message: str) -> NoReturn:
        """Raise the ConfigError."""
        refuse(self, message)


def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """ConfigError for argparse's message; the nearest option is named for one that does not exist."""
    _, unknown, words = message.partition("unrecognized arguments: ")
    if unknown:
        options = [text for text in parser._option_string_actions if text.startswith("--")]
        first = words.split()[0].partition("=")[0]
        message = f"{words} is not understood by {parser.prog}; " + nearest(first, options)
    raise ConfigError(message)


def folder(text: str) -> Path:
    """The folder that an option names, whether it exists yet or not."""
    path = Path(text)
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty text names no folder; . is the current one")
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, not a folder")
    return path
