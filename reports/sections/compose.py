"""Collected cells -> the model of a report: which sections, in which order."""

from __future__ import annotations

from reports.numbers.join import Collected
from reports.numbers.verdicts import judge
from reports.pages.document import Block, Report, Section, Text
from reports.sections import context, dots, figures, speed, tables
from reports.sections import device_scaling as scaling
from reports.sections import study as study_report
from reports.sections.tables import listed

MATRIX = 12
"""Columns up to which there is a table of rows × columns; the table of all places has them all anyway."""


def compose(c: Collected, command: str) -> Report:
    """The report of a sweep or a study. command: what makes it again."""
    around = [
        context.open_cells(c),
        context.confounded(c),
        context.threats(c),
        context.protocol(c),
        context.provenance(c, command),
    ]
    if c.is_benchmark:
        title = c.study.question if c.study else f"Speed by {_factors(c)}"
        said = [block for block in study_report.answer(c, []) if not _is_lead(block)]
        grown = scaling.scaling(c)
        lead = scaling.answer(c) or speed.answer(c)
        sections = [Section("", (*said, lead)), grown, speed.speeds(c, drawn=not grown.blocks)]
    elif c.study:
        verdicts = judge(c, c.study.claims)
        title = c.study.question
        sections = [
            Section("", tuple(study_report.answer(c, verdicts))),
            study_report.claims(c, verdicts),
            results(c),
            study_report.differences(c),
            study_report.against_paper(c),
        ]
    else:
        title = f"{tables.metric_text(c.metric).removesuffix(', %').capitalize()} by {_factors(c)}"
        sections = [Section("", (Text(f"`{c.manifest.command}`"),)), results(c)]
    if not c.is_benchmark:
        sections += [curves(c), cost(c), responses(c)]
    kept = tuple(section for section in (*sections, *around) if section.blocks)
    return Report(c.manifest.name, title, tables.counts(c.cells["state"]), c.is_open, kept)


def _factors(c: Collected) -> str:
    return listed([tables.heading((key,)) for key in c.manifest.factors if key != "seed"]) or "seed"


def _is_lead(block: Block) -> bool:
    return isinstance(block, Text) and block.kind == "lead"


def results(c: Collected) -> Section:
    """Main table, details and error against the rows."""
    blocks: list[Block] = []
    paper = study_report.paper_numbers(c)
    matrix = bool(c.column_keys) and len(c.columns) <= MATRIX
    if matrix:
        blocks.append(tables.main_table(c, c.metric, paper))
    blocks.append(tables.groups_table(c, {} if matrix else paper))
    if c.cells["state"].eq("finished").any() and c.row_keys:
        blocks.append(dots.by_row(c))
    return Section("Results", tuple(blocks))


def curves(c: Collected) -> Section:
    """Training and test error by step."""
    figure = figures.learning_curves(c)
    return Section("Learning curves", (figure,) if figure else ())


def cost(c: Collected) -> Section:
    """Error against multiply-adds, and what was spent."""
    figure = figures.by_cost(c)
    return Section("Cost", (*((figure,) if figure else ()), context.cost_table(c)))


def responses(c: Collected) -> Section:
    """Standard deviations of the layers' responses, where a run recorded them."""
    figure = figures.layer_responses(c)
    return Section("Layer responses", (figure,) if figure else ())
