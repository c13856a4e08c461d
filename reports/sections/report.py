"""Collected cells -> the model of a report: which sections, in which order."""

from __future__ import annotations

from ablations.words import key_text
from reports.numbers.join import Collected
from reports.pages.document import Block, Code, Report, Section, Text
from reports.sections import context, dots, figures, tables
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
        lead = scaling_lead(c) or speed_lead(c)
        sections = [scaling, speed_section(c, drawn=not scaling.blocks)]
    elif c.study:
        lead = study_report.answer(c)
        sections = [claims(c), results(c)]
        sections += [study_report.differences(c), study_report.against_paper(c)]
    else:
        lead, sections = Text(Code(c.manifest.command)), [results(c)]
    sections.insert(0, Section("", (*study_report.reservations(c), *settled(c), lead)))
    if not c.is_benchmark:
        for title, blocks in (
            ("Learning curves", (figures.learning_curves(c),)),
            ("Cost", (figures.by_cost(c), context.cost_table(c))),
            ("Layer responses", (figures.layer_responses(c),)),
        ):
            sections.append(Section(title, tuple(block for block in blocks if block)))
    sections += [context.open_cells(c), context.confounded(c), context.threats_to_validity(c)]
    sections += [context.protocol(c), context.provenance(c, command)]
    kept = tuple(section for section in sections if section.blocks)
    return Report(c.manifest.name, _title(c), c.status, c.is_open, kept)


def _title(c: Collected) -> str:
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
        blocks.append(dots.by_row(c))
    return Section("Results", tuple(blocks))
