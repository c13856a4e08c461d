"""Report folders: what is in one, written, compared with what it should hold, free of files of earlier states.

What of a folder is a report's own is said by a list in it that the report wrote; everything else there is somebody's.
That is never deleted or lost: where it stands in the way of the report's own files it is kept as NAME.old.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from lightning_module.support.disk import whole_file
from lightning_module.support.errors import ConfigError
from reports.pages.csv import csv_table
from reports.pages.document import Figure, Report, Table
from reports.pages.figure import figure_svg
from reports.pages.html import html
from reports.pages.latex import latex_table
from reports.pages.markdown import markdown

LIST = ".report-files.json"
"""Name of a file below the folder -> SHA-256 of what a report wrote there, of two writings while it is written."""

OWN = re.compile(r"(report|index)\.(md|html)|figures/[\w.+-]+\.svg|tables/[\w.+-]+\.(csv|tex)")
"""What a report writes, and so all that its list can name."""


def report_files(report: Report) -> dict[str, str]:
    """Every file of a report: path below its folder -> content."""
    contents = page_files(report, "report")
    for block in report.blocks:
        if isinstance(block, Figure):
            contents[f"figures/{block.name}.svg"] = figure_svg(block)
        elif isinstance(block, Table):
            contents[f"tables/{block.name}.csv"] = csv_table(block)
            contents[f"tables/{block.name}.tex"] = latex_table(block)
    return contents


def page_files(report: Report, name: str) -> dict[str, str]:
    """Its two pages alone."""
    return {f"{name}.md": markdown(report), f"{name}.html": html(report)}


def write(folder: Path, contents: Mapping[str, str]) -> list[str]:
    """Make a report folder hold these files (path below it -> text), and none that a report left there before.

    Returns what there is to say of files that a report did not write. Every file is whole at any time, and the list
    is written first, so that after an interruption it still tells whose a file is.
    """
    with _told(folder, "written to"):
        return _write(folder, contents)


def _write(folder: Path, contents: Mapping[str, str]) -> list[str]:
    made = {name: text.encode() for name, text in contents.items()}
    new = {name: {_digest(content)} for name, content in made.items()}
    before = _listed(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_list(folder, {name: before.get(name, set()) | new.get(name, set()) for name in {*before, *new}})
    aside = []
    for name, content in made.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if _digest_of(path) not in {None, *before.get(name, ()), *new[name]}:
            aside.append(_set_aside(path).relative_to(folder).as_posix())
        with whole_file(path) as file:
            file.write(content)
    stale = {name: _digest_of(folder / name) for name in _left_over(folder, before, made)}
    for name, digest in stale.items():
        if digest in before[name]:
            (folder / name).unlink()
    changed = [name for name, digest in stale.items() if digest not in {None, *before[name]}]
    _write_list(folder, new)
    return [
        f"{folder}: kept {', '.join(names)}, {what}"
        for names, what in (
            (aside, "which no report wrote, where the report's own file of that name stands now"),
            (changed, "which somebody changed since a report wrote it; no report makes it now"),
        )
        if names
    ]


def differing(folder: Path, contents: Mapping[str, str]) -> list[str]:
    """What is wrong with a report folder, a line per file; [] if it is as it should be."""
    with _told(folder, "read"):
        return _differing(folder, contents)


def _differing(folder: Path, contents: Mapping[str, str]) -> list[str]:
    wrong = []
    for name, text in contents.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{path}: missing")
        elif path.read_bytes() != text.encode():
            wrong.append(f"{path}: no longer what the records say")
    before = _listed(folder)
    return wrong + [
        f"{folder / name}: left over from an earlier report"
        for name in _left_over(folder, before, contents)
        if _digest_of(folder / name) in before[name]
    ]


@contextlib.contextmanager
def _told(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be {what} ({error.strerror}); choose another with --out FOLDER"
        ) from error


def _left_over(folder: Path, before: Iterable[str], made: Container[str]) -> list[str]:
    """What of a list is no longer made, without what a link leads to elsewhere."""
    return sorted(name for name in before if name not in made and not (folder / name).parent.is_symlink())


def _listed(folder: Path) -> dict[str, set[str]]:
    """What a report wrote here, by its list; nothing where the list cannot be read or is odd."""
    try:
        content = json.loads((folder / LIST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {
        name: {digest for digest in digests if isinstance(digest, str)}
        for name, digests in (content.items() if isinstance(content, dict) else ())
        if OWN.fullmatch(name) and isinstance(digests, list)
    }


def _write_list(folder: Path, digests: Mapping[str, set[str]]) -> None:
    with whole_file(folder / LIST) as file:
        file.write(json.dumps({name: sorted(digests[name]) for name in sorted(digests)}, indent=1).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str | None:
    """Of the file there; None if there is none, or it is a link to one."""
    return _digest(path.read_bytes()) if path.is_file() and not path.is_symlink() else None


def _set_aside(path: Path) -> Path:
    """Rename a file to NAME.old, or the first of NAME.old.2, … that is free."""
    names = (path.with_name(f"{path.name}.old{end}") for end in ("", *(f".{n}" for n in range(2, 10_000))))
    free = next(name for name in names if not os.path.lexists(name))
    return path.rename(free)
