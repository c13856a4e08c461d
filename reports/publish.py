"""`--publish wandb:ENTITY/PROJECT`: the rendered report as a W&B Report, with live panels of its runs.

Needs wandb-workspaces, an optional extra that is imported when something is published. Publishing again
replaces the report of the same title.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ablations.sweep.manifest import Manifest
from lightning_module.support.errors import ConfigError
from reports.sources._wandb_client import connect, place

PANELS = ("test/error", "train/error", "train/loss")
"""Metrics drawn live, by epoch."""
TITLE_LENGTH = 128
PROJECT = """query Project($entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) { id }
}"""
NAMES = 200
"""Runs selected by name; beyond that by their group, the study."""


def pieces(markdown: str) -> tuple[str, list[str]]:
    """Title and sections of a report in Markdown, with what W&B cannot show taken out or spelled otherwise.

    Figures are files next to report.md: their captions stay, their curves are the live panels. GitHub's
    warning boxes become bold text, and what is folded there is not folded here.
    """
    shown = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n*", "", markdown, flags=re.MULTILINE)
    shown = re.sub(r"^> \[!WARNING\]\n> (.*)$", r"**Warning:** \1", shown, flags=re.MULTILINE)
    shown = re.sub(r"<summary>(.*)</summary>", r"**\1**", re.sub(r"\n?</?details>\n?", "", shown))
    shown = re.sub(r"\[([^\]]+)\]\(#[\w-]+\)", r"\1", shown)
    head, *rest = re.split(r"^(?=## )", shown, flags=re.MULTILINE)
    title, _, start = head.removeprefix("# ").partition("\n")
    sections = (text.strip() for text in (start, *rest))
    return title.strip()[:TITLE_LENGTH], [section for section in sections if section]


def entity_and_project(where: str) -> tuple[str, str]:
    """Entity and project that `wandb:ENTITY/PROJECT` names; ConfigError if it names none."""
    kind, _, rest = where.partition(":")
    if kind != "wandb":
        raise ConfigError(f"publish={where} is not known; allowed is wandb:ENTITY/PROJECT")
    return place(rest, "publish=wandb:")


def publish(markdown: str, where: str, manifest: Manifest) -> str:
    """Put a report into W&B Reports and return its address; where: wandb:ENTITY/PROJECT.

    Raises ConfigError without wandb-workspaces, key, project or permission.
    """
    entity, project = entity_and_project(where)
    connect(entity, project)(PROJECT)  # says in one sentence what is wrong with key or project
    try:
        import wandb_workspaces.reports.v2 as workspaces
    except ImportError as error:
        raise ConfigError(
            f"--publish needs wandb-workspaces ({error}); run `pip install wandb-workspaces`"
        ) from error
    import wandb

    wr: Any = workspaces  # it does not declare what it exports
    os.environ.setdefault("WANDB_SILENT", "true")
    title, sections = pieces(markdown)
    blocks: list[Any] = [wr.MarkdownBlock(section) for section in sections]
    blocks.insert(1, _panels(wr, entity, project, manifest))  # right below the answer
    report = wr.Report(entity=entity, project=project, title=title, blocks=blocks, width="fluid")
    for old in wandb.Api().reports(f"{entity}/{project}"):
        if old.display_name == title:
            report.id = old.id
    report.save()
    return str(report.url)


def _panels(wr: Any, entity: str, project: str, manifest: Manifest) -> Any:
    """Live curves of the report's runs, those that differ in the seed only averaged."""
    names = [cell["identity"] for cell in manifest.cells]
    by_group = len(names) > NAMES and manifest.study
    runs = wr.Runset(
        entity=entity,
        project=project,
        name=manifest.name,
        filters=f"Group = {manifest.study!r}" if by_group else f"ID in {names!r}",
        groupby=[f"config.{factor}" for factor in manifest.factors if factor != "seed"],
    )
    lines = [wr.LinePlot(title=f"{metric} by epoch", x="epoch", y=[metric]) for metric in PANELS]
    return wr.PanelGrid(
        runsets=[runs], panels=[*lines, wr.BarPlot(title="test/error", metrics=["test/error"])]
    )
