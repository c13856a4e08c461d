"""A checkpoint is gone on from only if it fits its record; whatever else lies in its place is set aside."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import ISSUE

from ablations.sweep.compose import compose, make_cell
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import Cell
from lightning_module.cell.record import FILE as RECORD
from lightning_module.cell.record import Record, read
from lightning_module.networks.resnet import build
from lightning_module.train import run
from lightning_module.training import checkpoint
from lightning_module.training.checkpoint import FILE, checksum
from lightning_module.training.interruption import Interruption
from lightning_module.training.resume import choose

Damage = Callable[[Record, Path], bytes]
TIMES = {"seconds", "images_per_second", "peak_memory"}
FLIPS, OTHERS = 150, 50


class After(Interruption):
    """Asks to stop after so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def __bool__(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def cell_of(runs: Path, *overrides: str) -> Cell:
    texts = (*ISSUE, f"runs={runs}", *overrides)
    return make_cell(compose(texts), texts)


def train(runs: Path, *overrides: str, looks: int | None = None) -> Record:
    return run(cell_of(runs, *overrides), Interruption() if looks is None else After(looks))


def numbers(record: Record) -> list[dict[str, float]]:
    return [{key: epoch[key] for key in epoch if key not in TIMES} for epoch in record.epochs]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Record:
    """An undisturbed run, with its last checkpoint."""
    return train(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> Record:
    """A run that was interrupted at step 49, in its second epoch."""
    record = train(tmp_path_factory.mktemp("half"), looks=7)
    assert (record.state, len(record.epochs), record.last["step"]) == ("killed", 1, 46)
    return record


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """The checkpoint of seed 1 in mid-run."""
    return train(tmp_path_factory.mktemp("foreign"), "seed=1", looks=2).folder / FILE


def content(record: Record) -> dict[str, Any]:
    return torch.load(record.folder / FILE, weights_only=True)


def saved(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def resealed(state: dict[str, Any]) -> bytes:
    """As this program would have written it."""
    state.pop("crc")
    return saved({**state, "crc": checksum(state)})


def flip(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def a_tensor_bit(record: Record, _: Path) -> bytes:
    data = (record.folder / FILE).read_bytes()
    weights = content(record)["network"]["classifier.weight"].numpy().tobytes()
    return flip(data, data.index(weights) + 5, 0)


def another_shape(record: Record, _: Path) -> bytes:
    state = content(record)
    state["network"]["classifier.weight"] = torch.zeros(10, 8)
    return resealed(state)


def another_momentum(record: Record, _: Path) -> bytes:
    state = content(record)
    state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(7)
    return resealed(state)


def two_tensors_swapped(record: Record, _: Path) -> bytes:
    state = content(record)
    layers = state["network"]
    one, other = "stages.0.0.residual.conv1.weight", "stages.0.0.residual.conv2.weight"
    layers[one], layers[other] = layers[other], layers[one]
    return saved(state)


def of_an_older_program(record: Record, _: Path) -> bytes:
    state = content(record)
    return saved({key: state[key] for key in state if key not in ("identity", "attempt", "epochs", "crc")})


def beyond_the_last_step(record: Record, _: Path) -> bytes:
    return resealed(content(record) | {"step": 57})


def changed(**values: Any) -> Damage:
    """Sealed, but by another program than this one."""
    return lambda record, _: resealed(content(record) | values)


def brackets(record: Record, _: Path) -> bytes:
    state = content(record)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    for _ in range(2_000):
        state["versions"] = [state["versions"]]
    odd = saved(state)
    sys.setrecursionlimit(limit)
    return odd


DAMAGES: dict[str, Damage] = {
    "is of cell": lambda _, foreign: foreign.read_bytes(),
    r"is damaged \(its checksum does not fit\)": a_tensor_bit,
    "its checksum does not fit": two_tensors_swapped,
    "cannot be read as a checkpoint": lambda record, _: (record.folder / FILE).read_bytes()[:-100],
    "cannot be read as a checkpoint .": lambda *_: b"",
    "does not say which cell it is of": of_an_older_program,
    r"classifier.weight is float32 \[10, 8\] in it and float32 \[10, 16\] here": another_shape,
    "does not fit the network: momentum 0": another_momentum,
    "is of step 57 of 50": beyond_the_last_step,
    "is of step -7 of 50": changed(step=-7),
    "holds no step such": changed(step="49"),
    "holds no epochs such": changed(epochs=1.0),
    "holds no network such": changed(network=[1]),
    "holds no optimizer such": changed(optimizer=None),
    "holds no state of an optimizer": changed(optimizer={"state": []}),
    r"damaged .its checksum": brackets,
}


def there(runs: Path, record: Record) -> Path:
    """A copy of a run below another runs folder."""
    folder = runs / record.folder.name
    shutil.copytree(record.folder, folder)
    return folder


@pytest.mark.parametrize("said", DAMAGES)
def test_what_does_not_fit_is_named_and_set_aside_and_the_cell_begins_anew(
    tmp_path, whole, half, foreign, caplog, said
):
    folder = there(tmp_path, half)
    odd = DAMAGES[said](half, foreign)
    (folder / FILE).write_bytes(odd)
    record = train(tmp_path)
    assert (record.state, numbers(record)) == ("finished", numbers(whole))
    assert [attempt["step"] for attempt in record.attempts] == [0, 0]
    assert (folder / "set-aside-1.ckpt").read_bytes() == odd
    (line,) = [line for line in caplog.messages if "set-aside" in line]
    assert line.startswith(f"{folder / FILE} ")
    assert line.endswith("it is now set-aside-1.ckpt, and the cell is trained from the start")
    assert re.search(said, line), line
    (event,) = [event for event in record.events if event["event"] == "set_aside"]
    assert event["reason"] == line


def test_a_pipe_where_a_file_should_lie_is_not_waited_for(tmp_path, half):
    folder = there(tmp_path, half)
    (folder / FILE).unlink()
    os.mkfifo(folder / FILE)
    record = train(tmp_path)
    assert (record.state, "it is not a file" in record.status["error"]) == ("failed", True)
    (folder / RECORD).unlink()
    os.mkfifo(folder / RECORD)
    assert "it is not a file" in read(folder).damage


def test_a_checkpoint_that_fits_is_gone_on_from(tmp_path, whole, half, caplog):
    there(tmp_path, half)
    record = train(tmp_path)
    assert [attempt["step"] for attempt in record.attempts] == [0, 49]
    assert (record.state, numbers(record)) == ("finished", numbers(whole))
    assert "set-aside" not in caplog.text


@pytest.mark.parametrize("lines", [0, 1, 2, 3])
def test_a_record_that_was_cut_beside_a_final_checkpoint_is_no_result(tmp_path, whole, lines):
    """Three lines: cell, attempt, epoch 1."""
    folder = there(tmp_path, whole)
    rows = (folder / RECORD).read_bytes().splitlines(keepends=True)
    (folder / RECORD).write_bytes(b"".join(rows[:lines]))
    assert read(folder).state == ("killed" if lines else "planned")
    record = train(tmp_path)
    assert (record.state, numbers(record)) == ("finished", numbers(whole))
    assert (folder / "set-aside-1.ckpt").exists()


def test_a_record_that_lost_the_end_of_its_last_epoch_goes_on_where_both_agree(tmp_path, whole, half):
    """Of the record epoch 1 is left, and the checkpoint is of a step after it."""
    folder = there(tmp_path, half)
    assert train(tmp_path).state == "finished"
    shutil.copy(half.folder / FILE, folder / FILE)
    rows = (folder / RECORD).read_bytes().splitlines(keepends=True)
    (folder / RECORD).write_bytes(b"".join(rows[:3]) + rows[3][:-20])
    record = train(tmp_path)
    assert [attempt["step"] for attempt in record.attempts] == [0, 49]
    assert numbers(record) == numbers(whole)


def test_nothing_that_was_set_aside_before_is_replaced(tmp_path, half, foreign):
    folder = there(tmp_path, half)
    for number in (1, 2):
        (folder / FILE).write_bytes(b"odd %d" % number)
        train(tmp_path, looks=1)
    assert [(folder / f"set-aside-{number}.ckpt").read_bytes() for number in (1, 2)] == [b"odd 1", b"odd 2"]


def test_a_disk_that_does_not_give_the_checkpoint_is_no_reason_to_begin_anew(tmp_path, half, monkeypatch):
    folder = there(tmp_path, half)
    path = type(folder)
    before = path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self.name == FILE:
            raise OSError(5, "Input/output error", str(self))
        return before(self)

    monkeypatch.setattr(path, "read_bytes", read_bytes)
    record = train(tmp_path)
    assert record.state == "failed"
    assert "Input/output error" in record.status["error"]
    assert (folder / FILE).exists()


def test_two_ranks_begin_anew_together(tmp_path, whole, half, foreign):
    folder = there(tmp_path, half)  # the same cell, because its statistics are synchronised
    (folder / FILE).write_bytes(foreign.read_bytes())
    record = train(tmp_path, "trainer.devices=2")
    assert (record.state, [attempt["step"] for attempt in record.attempts]) == ("finished", [0, 0])
    losses = [[epoch["train/loss"] for epoch in one.epochs] for one in (record, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert (folder / "set-aside-1.ckpt").read_bytes() == foreign.read_bytes()


def test_mutated_checkpoints_are_set_aside_or_hold_the_same(tmp_path, half, foreign):
    """FLIPS bits of the file and OTHERS of other kinds, seeded: a state that was not saved is never gone on from."""
    folder, chance = there(tmp_path, half), random.Random(12)
    config = parse_config(cell_of(tmp_path).config)
    network = build(config.model, config.data.classes)
    data, truth = (folder / FILE).read_bytes(), checksum(checkpoint.load(folder))

    def kinds() -> bytes:
        kind = chance.choice(("cut", "zeros", "moved", "swapped", "removed", "foreign"))
        place = chance.randrange(len(data))
        if kind in ("cut", "zeros"):
            return data[:place] + (b"" if kind == "cut" else bytes(len(data) - place))
        if kind == "moved":
            return data[place:] + data[:place]
        if kind == "foreign":
            return foreign.read_bytes()
        state = content(half)
        part = chance.choice((state, state["network"], state["optimizer"]["state"]))
        one, other = chance.sample(sorted(part, key=str), 2)
        if kind == "swapped":
            part[one], part[other] = part[other], part[one]
        else:
            del part[one]
        return saved(state)

    refused = 0
    for number in range(FLIPS + OTHERS):
        odd = flip(data, chance.randrange(len(data)), chance.randrange(8)) if number < FLIPS else kinds()
        (folder / FILE).write_bytes(odd)
        state, said = choose(folder, half.folder.name, config.recipe, network)
        if state is None:
            refused += 1
            assert said
            assert not (folder / FILE).exists()
            (folder / "set-aside-1.ckpt").unlink()
        else:
            assert checksum(state) == truth
    assert refused > (FLIPS + OTHERS) / 2


def test_the_units_that_are_dropped_are_a_function_of_the_step(tmp_path):
    more = ("model.stochastic_depth=0.5", "model.residual_dropout=0.3")
    undisturbed = train(tmp_path / "whole", *more)
    train(tmp_path / "half", *more, looks=7)
    assert numbers(train(tmp_path / "half", *more)) == numbers(undisturbed)
    assert numbers(train(tmp_path / "calls", *more, "trainer.steps_per_call=3")) == numbers(undisturbed)
