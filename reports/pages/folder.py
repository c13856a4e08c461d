"""Report folders: what is in one, written, compared with what it should hold, free of files of earlier states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning_module.support.disk import whole_file
from lightning_module.support.errors import ConfigError
from reports.pages.csv import csv_table
from reports.pages.document import Figure, Report, Table
from reports.pages.figure import figure_svg
from reports.pages.html import html
from reports.pages.latex import latex_table
from reports.pages.markdown import markdown

OWN = ("figures/*.svg", "tables/*.csv", "tables/*.tex")
"""What a report puts into its folder besides its pages; files of these names that it no longer makes go."""


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


def write(folder: Path, contents: Mapping[str, str]) -> None:
    """Make a report folder hold these files (path below it -> text), and none of ours besides."""
    try:
        for name, text in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(text.encode())
        for stale in _left_over(folder, contents):
            (folder / stale).unlink()
    except OSError as error:
        raise ConfigError(
            f"--out={folder.parent} cannot be written to ({error.strerror}); choose another with --out FOLDER"
        ) from error


def differing(folder: Path, contents: Mapping[str, str]) -> list[str]:
    """What is wrong with a report folder, a line per file; [] if it is as it should be."""
    wrong = []
    for name, text in contents.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{path}: missing")
        elif path.read_text(encoding="utf-8") != text:
            wrong.append(f"{path}: no longer what the records say")
    return wrong + [
        f"{folder / name}: left over from an earlier report" for name in _left_over(folder, contents)
    ]


def _left_over(folder: Path, contents: Mapping[str, str]) -> list[str]:
    ours = (path.relative_to(folder).as_posix() for pattern in OWN for path in folder.glob(pattern))
    return sorted(name for name in ours if name not in contents)
