"""Report folders on disk: written, compared with what they should hold, free of files of earlier states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning_module.support.errors import ConfigError

OWN = ("figures/*.svg", "tables/*.csv", "tables/*.tex")
"""What a report puts into its folder besides its pages; files of these names that it no longer makes go."""


def write(folder: Path, contents: Mapping[str, str]) -> None:
    """Make a report folder hold these files (path below it -> text), and none of ours besides."""
    try:
        for name, text in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for stale in _left_over(folder, contents):
            (folder / stale).unlink()
    except OSError as error:
        raise ConfigError(
            f"--out={folder.parent} cannot be written to ({error.strerror}); choose another with --out FOLDER"
        ) from error


def differing(folder: Path, contents: Mapping[str, str]) -> list[str]:
    """What is wrong with a report folder, a line per file; [] if it is as it should be."""
    found = []
    for name, text in contents.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path}: missing")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"{path}: no longer what the records say")
    return found + [
        f"{folder / name}: left over from an earlier report" for name in _left_over(folder, contents)
    ]


def _left_over(folder: Path, contents: Mapping[str, str]) -> list[str]:
    found = (path.relative_to(folder).as_posix() for pattern in OWN for path in folder.glob(pattern))
    return sorted(name for name in found if name not in contents)
