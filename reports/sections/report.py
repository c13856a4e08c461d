"""Collected cells -> the model of a report: which sections, in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ablations.words import key_text
from reports.numbers.join import TRAIN_ERROR, Collected
from reports.pages.document import Block, Figure, Report, Section
from reports.sections import answer, context, dots, figures, protocol, tables
from reports.sections import study as study_report
from reports.sections.claims import claims
from reports.sections.device_scaling import scaling_lead, scaling_section
from reports.sections.rounds import settled
from reports.sections.speed import speed_lead, speed_section
from reports.words import capital, listed, metric_name

MATRIX = 12
"""Columns up to which there is a table of rows × columns; the table of all places has them all anyway."""


def build_report(c: Collected, command: str) -> Report:
    """The report of a sweep or a study. command: what makes it again."""
    if c.is_benchmark:
        scaling = scaling_section(c)
        lead: tuple[Block, ...] = (scaling_lead(c) or speed_lead(c),)
        sections = [scaling, speed_section(c, drawn=not scaling.blocks)]
    elif c.study:
        lead = answer.answer(c)
        sections = [claims(c), results(c)]
        sections += [study_report.differences(c), study_report.against_paper(c)]
    else:
        lead, sections = answer.answer(c), [results(c)]
    if not c.is_benchmark:
        for name, blocks in (
            ("Learning curves", (figures.learning_curves(c),)),
            ("Cost", (figures.by_cost(c), context.cost_table(c))),
            ("Layer responses", (figures.layer_responses(c),)),
        ):
            sections.append(Section(name, tuple(block for block in blocks if block)))
    sections += [context.open_cells(c), protocol.confounded(c), context.threats_to_validity(c)]
    sections += [protocol.protocol(c), context.provenance(c, command)]
    shown = _telling_figure(c, sections)
    first = Section("", (*answer.reservations(c), *settled(c), *lead, *shown))
    rest = [replace(each, blocks=tuple(b for b in each.blocks if b not in shown)) for each in sections]
    kept = (first, *(section for section in rest if section.blocks))
    return Report(c.manifest.name, title(c), c.status, c.is_open, kept)


def _telling_figure(c: Collected, sections: Iterable[Section]) -> list[Figure]:
    """The figure that shows the answer: learning curves where a claim is about training error, else the first."""
    drawn = [block for section in sections for block in section.blocks if isinstance(block, Figure)]
    about_training = any(verdict.claim.metric == TRAIN_ERROR for verdict in c.verdicts)
    return sorted(drawn, key=lambda figure: about_training and figure.name != "learning_curves")[:1]


def title(c: Collected) -> str:
    """The study's question, or what a sweep compares."""
    if c.study:
        return c.study.question
    what = "Speed" if c.is_benchmark else capital(metric_name(c.metric))
    factors = [key_text(key) for key in c.manifest.factors if key != "seed"]
    return f"{what} by {listed(factors) or 'seed'}"


def results(c: Collected) -> Section:
    """Main table, details and error against the rows."""
    blocks: list[Block] = []
    paper = study_report.paper_numbers(c)
    matrix = bool(c.column_keys) and len(c.columns) <= MATRIX
    if matrix:
        blocks.append(tables.main_table(c, paper))
    blocks.append(tables.groups_table(c, {} if matrix else paper))
    if c.cells["state"].eq("finished").any() and c.row_keys:
        blocks += dots.by_row(c)
    return Section("Results", tuple(blocks))
