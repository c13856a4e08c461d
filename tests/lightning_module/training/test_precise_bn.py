"""Statistics of batch normalisation by a pass over the training images, against one that keeps everything."""

from __future__ import annotations

import pytest
import torch
from small import SMALL
from torch import Tensor, nn

from ablations.sweep.compose import compose, make_cell
from lightning_module.cell.config import Config, parse_config
from lightning_module.cell.record import Record
from lightning_module.data.images import load
from lightning_module.networks.resnet import build
from lightning_module.train import run
from lightning_module.training import checkpoint, classifier
from lightning_module.training.interruption import Interruption

PRECISE = (*SMALL, "recipe.steps=6", "recipe.drops=[]", "recipe.bn_statistics=precise", "trainer=cpu")
IMAGES = 1442


def train(*overrides: str) -> Record:
    texts = (*PRECISE, *overrides)
    return run(make_cell(compose(texts), texts), Interruption())


def reference(config: Config, state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of whatever comes into each layer, over all images at once.

    Of one epoch of the stream, in the batches of training; where batch normalisation is not synchronised, in those of
    each device.
    """
    data = load(config.data)
    network = build(config.model, data.classes)
    network.load_state_dict(state)
    size = config.recipe.batch_size
    stream = data.stream(batch_size=size, seed=config.seed, rank=0, processes=1, device=torch.device("cpu"))
    first = next(step for step in range(config.recipe.steps, 10**6) if step * size % IMAGES == 0)
    steps = range(first, first - (-IMAGES // size))
    seen = torch.cat([stream.places(step)[0] for step in steps])[:IMAGES]
    assert seen.sort().values.tolist() == list(range(IMAGES)), "every image once"
    inputs: dict[str, list[Tensor]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            kept = inputs.setdefault(name, [])
            layer.register_forward_pre_hook(
                lambda _, given, kept=kept: kept.append(given[0].detach().clone())
            )
    parts = 1 if config.trainer.sync_batch_norm else config.trainer.processes
    for step in steps:
        for share in stream.batch(step)[0].chunk(parts):
            network(share)
    whole = {name: torch.cat(kept)[:IMAGES].double() for name, kept in inputs.items()}
    return {name: (x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)) for name, x in whole.items()}


@pytest.mark.parametrize(
    "overrides",
    [
        ("recipe.batch_size=64",),
        (f"recipe.batch_size={IMAGES}",),
        ("recipe.batch_size=64", "trainer.devices=2", "trainer.sync_batch_norm=false"),
    ],
)
def test_it_tests_with_the_statistics_of_all_training_images(tmp_path, overrides):
    record = train(f"runs={tmp_path}", *overrides)
    assert record.state == "finished", record.status
    state = checkpoint.load(record.folder)["network"]
    config = parse_config(compose((*PRECISE, *overrides)))
    for name, (mean, variance) in reference(config, state).items():
        torch.testing.assert_close(state[f"{name}.running_mean"].double(), mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state[f"{name}.running_var"].double(), variance, rtol=1e-4, atol=1e-5)
    data = load(config.data)
    network = build(config.model, data.classes).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        guesses = network(data.normalisation(data.test.images)).argmax(1)
    wrong = 100 * (guesses != data.test.labels).double().mean()
    assert record.last["test/error"] == pytest.approx(wrong.item())


def test_cut_within_the_pass_it_ends_with_the_same_bits(tmp_path, monkeypatch):
    texts = ("model.stochastic_depth=0.5", "trainer.checkpoint_every=4", "trainer.steps_per_call=2")
    whole = train(f"runs={tmp_path / 'whole'}", *texts)

    def cut(network, batches, *more):
        network.train()
        network(next(iter(batches))[0])
        raise OSError("as if it were killed")

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "set_precise_statistics", cut)
        assert "as if it were killed" in train(f"runs={tmp_path / 'cut'}", *texts).status["error"]
    again = train(f"runs={tmp_path / 'cut'}", *texts)
    assert (again.state, again.attempts[-1]["step"]) == ("finished", 4)
    ours, theirs = (checkpoint.load(record.folder)["network"] for record in (again, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
