"""What keys and levels are called."""

from __future__ import annotations

from typing import Any


def key_text(key: str) -> str:
    """A configuration key: "model.shortcut_type" -> "shortcut type"."""
    return key.rpartition(".")[2].replace("_", " ")


def value_text(value: Any) -> str:
    """A configuration value: True -> "yes", 0.10 -> "0.1", (82, 123) -> "[82, 123]"."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else str(value)


def setting(key: str, value: Any) -> str:
    """A key with its value: "shortcut B"."""
    return f"{key_text(key)} {value_text(value)}"
