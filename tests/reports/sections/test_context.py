"""Every job and every W&B run of a sweep is in its report, from the records alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from small import SMALL
from synthetic import make_cell, manifest

from ablations.sweep import compose
from lightning_module import train as training
from lightning_module.cell import record
from lightning_module.cell.identity import Cell
from lightning_module.tracking import reporter
from lightning_module.tracking.wandb_run import Tracker
from lightning_module.training.interruption import Interruption
from reports.__main__ import main


def train(
    runs: Path,
    cell: Cell,
    job: str,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    *how: dict[str, Any],
    **realised: Any,
) -> None:
    """A cell through the reporter of the training, with a server that answers or does not.

    how: its steps were made, in each attempt. realised: what the attempts say of the run.
    """
    monkeypatch.setattr(Tracker, "open", classmethod(lambda cls, *_, **__: cls(url=url)))
    monkeypatch.setattr(reporter, "provenance", lambda device: {"hardware": "1 x Example GPU", "job": job})
    trainer = SimpleNamespace(
        processes=1,
        precision="32",
        activation_checkpoint=0,
        sync_batch_norm=True,
        progress=False,
        deterministic=False,
    )
    logger = SimpleNamespace(mode="online", project="p", entity=None, base_url=None)
    config: Any = SimpleNamespace(
        trainer=trainer, logger=logger, recipe=SimpleNamespace(batch_size=64, steps=400)
    )
    (runs / cell.identity).mkdir(parents=True)
    writer = record.Writer(runs / cell.identity, cell)
    told = reporter.Reporter(cell, config, runs / cell.identity, writer)
    told.start("cuda", realised)
    told.call(400)
    told.epoch(1, 400, {"train/loss": 0.5, "train/error": 3.0, "test/error": 9.0, "seconds": 60.0})
    for each in how:
        told.event("execution", **each)
    told.end("finished")
    writer.close()


def test_jobs_and_links_of_all_cells(tmp_path, monkeypatch):
    cells = [make_cell(seed=seed) for seed in range(12)]
    with mock.patch("os.fsync"):
        for seed, cell in enumerate(cells):
            link = f"https://wandb.example/lab/p/runs/{cell.identity}" if seed else ""
            train(tmp_path, cell, f"4711_{seed}", link, monkeypatch)
    manifest(tmp_path, "jobs", cells, ("model.depth", "seed"))
    assert main(["jobs", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "jobs" / "report.md").read_text()
    page = (tmp_path / "out" / "jobs" / "report.html").read_text()
    for seed, cell in enumerate(cells):
        line = next(row for row in text.splitlines() if cell.identity in row and "| 4711_" in row)
        assert f"| 4711_{seed} |" in line
        link = f"https://wandb.example/lab/p/runs/{cell.identity}"
        in_page = f'<a href="{link}">{cell.identity}</a>' in page
        assert (f"[{cell.identity}]({link})" in line) == in_page == bool(seed)
    assert "| jobs | 12, each beside its cell below |" in text


def test_a_sweep_without_them_has_no_empty_columns(tmp_path, monkeypatch):
    train(tmp_path, make_cell(), "", "", monkeypatch)
    manifest(tmp_path, "here", [make_cell()], ("model.depth",))
    assert main(["here", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "here" / "report.md").read_text()
    assert "W&B" not in text and "| job" not in text


def test_other_images_of_the_same_name_are_told(tmp_path, monkeypatch):
    """`data.verify=false` takes any files: which ones a number is of stands beside it."""
    cells = [make_cell(seed=seed, data__name="cifar10", data__verify=False) for seed in range(2)]
    for cell, images in zip(cells, ("47cbc0bf", "00000000"), strict=True):
        train(tmp_path, cell, "", "", monkeypatch, images_crc32=images)
    manifest(tmp_path, "copies", cells, ("model.depth",))
    assert main(["copies", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "copies" / "report.md").read_text()
    assert "cifar10 47cbc0bf (1 cells); cifar10 00000000 (1 cells)" in text
    assert "The cells have 2 different copies of cifar10; see provenance." in text
    assert "The files of cifar10 were not compared with the official ones (data.verify=false)" in text


GRAPH = {"cuda_graph": True, "without_graph": "", "compiled_graphs": 0, "graph_breaks": 0}
NONE = {**GRAPH, "cuda_graph": False}
MADE = {
    "by a CUDA graph": [GRAPH],
    "by a CUDA graph, 5 compiled graphs": [{**GRAPH, "compiled_graphs": 5}],
    "by a CUDA graph, 1 compiled graph with 2 breaks": [{**GRAPH, "compiled_graphs": 1, "graph_breaks": 2}],
    "without a CUDA graph (trainer.cuda_graph=false)": [
        {**NONE, "without_graph": "trainer.cuda_graph=false"}
    ],
    "by a CUDA graph then without a CUDA graph (no GPU)": [GRAPH, {**NONE, "without_graph": "no GPU"}],
}


@pytest.mark.parametrize("text", MADE)
def test_the_report_says_how_steps_were_made(tmp_path, monkeypatch, text):
    train(tmp_path, make_cell(), "", "", monkeypatch, *MADE[text])
    manifest(tmp_path, "here", [make_cell()], ("model.depth",))
    assert main(["here", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert f"| steps made | {text} |" in (tmp_path / "out" / "here" / "report.md").read_text()


@pytest.mark.parametrize("source", ["records", "wandb-offline"])
def test_how_a_real_cell_was_trained_is_in_its_report_from_every_source(tmp_path, source):
    texts = (*SMALL, "trainer=cpu", "recipe.steps=3", "recipe.drops=[]", "logger=wandb_offline")
    texts = (*(text for text in texts if text != "logger=none"), f"runs={tmp_path}")
    cell = compose.make_cell(compose.compose(texts), texts)
    assert training.run(cell, Interruption()).state == "finished"
    manifest(tmp_path, "here", [cell], ("model.depth",))
    words = ["here", "--source", source, "--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    text = (tmp_path / "out" / "here" / "report.md").read_text()
    assert "| steps made | without a CUDA graph (no GPU) |" in text
