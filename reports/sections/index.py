"""The index page: every study and sweep with its question, verdicts, progress and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ablations.study import Study
from ablations.verdicts.judge import WORDS
from lightning_module.support.text import counted
from reports.numbers.deviations import departed
from reports.numbers.join import Collected
from reports.pages.document import (
    Code,
    Column,
    Inline,
    Report,
    ReportLink,
    Section,
    Strong,
    Table,
    Text,
    text_columns,
)
from reports.sections.report import title
from reports.words import HOUR, listed


def index(
    reported: Sequence[Collected], waiting: Mapping[str, Study], mistakes: Sequence[str], command: str
) -> Report:
    """The index of these reports, each in the folder of its name.

    waiting: studies that nobody has started, by name. mistakes: what is wrong with those that cannot be read.
    """
    sections = []
    if mistakes:
        warnings = (Text(f"No report: {mistake}.", "warning") for mistake in mistakes)
        sections.append(Section("", tuple(warnings)))
    progress = [Column("finished"), Column("device-hours", 2)]
    rows: list[list[object]] = []
    for c in reported:
        if c.study:
            link = ReportLink(c.study.question, c.manifest.name)
            rows.append([link, protocol(c), verdicts(c), *_progress(c), Code(c.manifest.name)])
    rows += [[study.question, "", "not started", None, None, Code(name)] for name, study in waiting.items()]
    sweeps = [
        [ReportLink(title(c), c.manifest.name), *_progress(c), Code(c.manifest.command)]
        for c in reported
        if not c.study
    ]
    for heading, head, typed, lines in (
        ("Studies", ("question", "protocol", "verdicts"), "name", rows),
        ("Sweeps", ("sweep",), "command", sweeps),
    ):
        if lines:
            columns = [*text_columns(*head), *progress, *text_columns(typed)]
            sections.append(Section(heading, (Table(heading.lower(), "", columns, lines, cards=True),)))
    sections.append(Section("", (Text(("Made by ", Code(command), "."), "note"),)))
    cells = sum(len(c.cells) for c in reported)
    finished = sum(int(c.cells["state"].eq("finished").sum()) for c in reported)
    status = f"{counted(len(reported), 'report')}, {finished:,} of {cells:,} cells finished"
    return Report("index", "Reports", status, any(c.is_open for c in reported), tuple(sections))


def protocol(c: Collected) -> Inline:
    """Whether the cells are the study's own, in a few words: verdicts on other cells are not the study's."""
    part = " (a part)" if c.manifest.narrowed else ""
    if keys := departed(c.manifest):
        return Strong("not the study's:"), f" other {listed(keys)}{part}"
    return f"the study's{part}"


def verdicts(c: Collected) -> str:
    """The verdicts of a study in a few words: "supported: 2, undecided: 1"."""
    words = Counter(verdict.word for verdict in c.verdicts)
    text = ", ".join(f"{words[word]} {word}" for word in WORDS if words[word]) or "no claims"
    return text + (" (draft)" if c.is_open else "")


def _progress(c: Collected) -> list[object]:
    finished = int(c.cells["state"].eq("finished").sum())
    diverged = int(c.cells["state"].eq("diverged").sum())
    text = f"{finished:,} of {len(c.cells):,}" + (f", {diverged} diverged" if diverged else "")
    spent = c.cells["seconds"] * c.cells["devices"].fillna(1)
    return [text, float(spent.sum()) / HOUR]
