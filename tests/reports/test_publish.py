"""A report in W&B Reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from wandb_lab import manifest
from wandb_server import Server

from lightning_module.support.errors import ConfigError
from reports import publish
from reports.sources import records

MARKDOWN = """# Does depth help?

**DRAFT: 6 of 8 finished.**

It does, see [Results](#results).

## Results

| depth | error |
|:--|--:|
| 20 | 1.0 |

![Error against depth](figures/error.svg)

*Error against depth*

> [!WARNING]
> One cell is missing.

<details>
<summary>More</summary>

A note.

</details>

## Provenance

`python -m reports depth`
"""


def test_a_report_is_published_with_live_panels_and_replaced_the_next_time(
    synced: Server, runs: Path
) -> None:
    pytest.importorskip("wandb_workspaces")
    sweep = manifest(runs)
    url = publish.publish(MARKDOWN, "wandb:lab/p", sweep)
    assert publish.publish(MARKDOWN.replace("It does", "Yes"), "wandb:lab/p", sweep) == url
    (view,) = synced.projects["lab", "p"].views.values()
    assert view["displayName"] == "Does depth help?"
    blocks = json.loads(view["spec"])["blocks"]
    kinds = [block["type"] for block in blocks if block["type"] != "paragraph"]
    assert kinds == ["markdown-block", "panel-grid", "markdown-block", "markdown-block"]
    text = "\n".join(block.get("content", "") for block in blocks)
    assert "Yes, see Results." in text
    assert "**More**\n\nA note." in text and "<" not in text
    assert "| 20 | 1.0 |" in text
    assert "**Warning:** One cell is missing." in text
    assert "figures/error.svg" not in text
    (grid,) = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    (chosen,) = grid["runSets"][0]["filters"]["filters"]
    assert set(chosen["value"]) >= set(records.load(str(runs), None).runs["identity"])
    assert [key["name"] for key in grid["runSets"][0]["grouping"]] == ["model.value.depth"]
    panels = grid["panelBankSectionConfig"]["panels"]
    assert panels[0]["config"]["metrics"] == ["test/error"]
    assert panels[0]["config"]["xAxis"] == "epoch"


def test_publishing_without_its_package_or_to_nowhere_is_one_sentence(
    synced: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(ConfigError, match="pip install wandb-workspaces"):
        publish.publish(MARKDOWN, "wandb:lab/p", manifest(runs))
    with pytest.raises(ConfigError, match="lab/nothing does not exist"):
        publish.publish(MARKDOWN, "wandb:lab/nothing", manifest(runs))
    with pytest.raises(ConfigError, match="allowed is wandb:ENTITY/PROJECT"):
        publish.publish(MARKDOWN, "medium:lab/p", manifest(runs))
