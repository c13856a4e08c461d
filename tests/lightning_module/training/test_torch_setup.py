"""What a cell asks of PyTorch holds for the whole cell, and for no other."""

from __future__ import annotations

import pytest
import torch
from small import SMALL

from ablations.sweep.compose import compose, make_cell
from lightning_module.train import run
from lightning_module.training.classifier import Classifier
from lightning_module.training.interruption import Interruption


@pytest.fixture
def flags(monkeypatch):
    """(benchmark, deterministic) of cuDNN at each call of a training, and at each test of a network."""
    seen = {"training_step": [], "validation_step": []}
    for name, found in seen.items():
        plain = getattr(Classifier, name)

        def step(self, *more, plain=plain, found=found):
            found.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic))
            return plain(self, *more)

        monkeypatch.setattr(Classifier, name, step)
    return seen


@pytest.mark.parametrize(
    ("word", "training", "testing"),
    [("true", (False, True), (False, True)), ("false", (True, False), (False, False))],
)
def test_a_deterministic_cell_lets_nothing_be_chosen_by_timing(tmp_path, flags, word, training, testing):
    run_one(tmp_path / "other", "true" if word == "false" else "false")
    for seen in flags.values():
        seen.clear()
    record = run_one(tmp_path, word)
    assert record.state == "finished" and len(record.epochs) > 1, "a test of the network lies between"
    assert set(flags["training_step"]) == {training}
    assert set(flags["validation_step"]) == {testing}
    assert record.attempts[0]["deterministic"] is (word == "true")


def run_one(runs, word):
    texts = (*SMALL, "trainer=cpu", f"runs={runs}", f"trainer.deterministic={word}")
    return run(make_cell(compose(texts), texts), Interruption())
