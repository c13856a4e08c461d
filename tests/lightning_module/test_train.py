"""Training one cell: what it does must not depend on how it is cut into calls, attempts or processes."""

from __future__ import annotations

import gc
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_server import server
from small import ROOT, SMALL, forks, in_ranks
from torch import nn

from ablations.sweep.compose import compose, make_cell
from ablations.verdicts.images import right_images
from lightning_module import fit
from lightning_module.cell.config import parse_config
from lightning_module.cell.record import Record, read
from lightning_module.data.images import load
from lightning_module.networks.resnet import build
from lightning_module.train import run
from lightning_module.training import checkpoint, classifier
from lightning_module.training.classifier import Classifier
from lightning_module.training.device_memory import peak_memory, reset_peak_memory
from lightning_module.training.interruption import Interruption
from lightning_module.training.step import Step
from lightning_module.training.torch_setup import cpu_threads

COMPILE = torch.compile

TIMES = {"seconds", "images_per_second", "time", "peak_memory"}


def train(runs: Path, *overrides: str, interruption: Interruption | None = None) -> Record:
    texts = (*SMALL, "trainer=cpu", f"runs={runs}", *overrides)
    return run(make_cell(compose(texts), texts), Interruption() if interruption is None else interruption)


def metrics(record: Record) -> list[dict[str, float]]:
    return [{key: epoch[key] for key in epoch if key not in TIMES} for epoch in record.epochs]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Record:
    """An uninterrupted run."""
    return train(tmp_path_factory.mktemp("whole"))


def test_a_run_is_recorded_from_start_to_end(whole):
    assert whole.state == "finished"
    assert [(epoch["epoch"], epoch["step"]) for epoch in whole.epochs] == [(1, 23), (2, 30)]
    assert whole.cell["parameters"] == sum(
        value.numel()
        for key, value in checkpoint.load(whole.folder)["network"].items()
        if "running" not in key and "tracked" not in key
    )
    assert whole.attempts[0]["versions"]["torch"]
    assert re.fullmatch("[0-9a-f]{8}", whole.attempts[0]["realised"]["images_crc32"])
    how = next(event for event in whole.events if event["event"] == "execution")
    assert (how["cuda_graph"], how["without_graph"], how["compiled_graphs"]) == (False, "no GPU", 0)
    responses = next(event for event in whole.events if event["event"] == "layer_responses")["responses"]
    assert len(responses) == 7
    assert whole.last["train/loss"] < whole.epochs[0]["train/loss"]


def right_events(record: Record) -> list[dict[str, Any]]:
    return [dict(event) for event in record.events if event["event"] == "right_images"]


def test_a_finished_run_says_which_test_images_were_right(whole):
    (event,) = right_events(whole)
    right = right_images(whole.events, "test/error")
    assert (event["test"], event["images"], event["step"]) == ("test", 355, 30)
    assert list(event) == ["event", "step", "test", "images", "error"]
    assert 100 * (~right).sum() / len(right) == whole.last["test/error"]
    config = parse_config(compose(SMALL))
    data = load(config.data)
    network = build(config.model, data.classes).eval()
    network.load_state_dict(checkpoint.load(whole.folder)["network"])
    with torch.no_grad():
        guesses = network(data.normalisation(data.test.images)).argmax(1)
    assert right.tolist() == (guesses == data.test.labels).tolist()


@pytest.mark.parametrize("told", [0, 1])
def test_after_a_kill_between_epoch_and_checkpoint_right_images_are_told_once(tmp_path, whole, told):
    """The last attempt's are kept: those of before belong to steps that it makes again."""
    train(tmp_path, "trainer.steps_per_call=2", interruption=AfterCalls(4))
    folder = tmp_path / whole.folder.name
    early = (folder / checkpoint.FILE).read_bytes()
    finished = train(tmp_path)
    (folder / checkpoint.FILE).write_bytes(early)
    path = folder / "record.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    cut = next(number for number, line in enumerate(lines, start=1) if b'"right_images"' in line)
    path.write_bytes(b"".join(lines[: cut - 1 + told]))
    assert right_events(read(folder)) == right_events(finished)[:told]
    again = train(tmp_path)
    assert (again.state, again.attempts[-1]["step"]) == ("finished", 10)
    assert path.read_bytes().count(b'"right_images"') == told + 1
    assert right_events(again) == right_events(whole)


def test_right_images_are_told_before_the_last_checkpoint(tmp_path, monkeypatch, whole):
    """From which no step is made again."""
    save = fit._Training.save

    def fail_at_the_end(self: fit._Training) -> None:
        save(self)
        self.saver.wait()
        if self.module.step == 30:
            raise OSError("as if it were killed")

    with monkeypatch.context() as patch:
        patch.setattr(fit._Training, "save", fail_at_the_end)
        assert train(tmp_path).state == "failed"
    again = train(tmp_path)
    assert (again.state, again.attempts[-1]["step"]) == ("finished", 30)
    assert right_events(again) == right_events(whole)


@pytest.mark.parametrize(("steps", "ends"), [(23, [(1, 23)]), (46, [(1, 23), (2, 46)])])
def test_a_last_step_that_goes_beyond_the_end_of_its_epoch_begins_no_other(tmp_path, steps, ends):
    record = train(tmp_path, f"recipe.steps={steps}", "recipe.drops=[]")
    assert record.state == "finished", record.damage
    assert [(epoch["epoch"], epoch["step"]) for epoch in record.epochs] == ends


def test_every_cell_of_a_process_is_compiled(tmp_path, monkeypatch):
    """Dynamo's own limit of variants would leave the second cell as it is, without a word.

    What follows dynamo, and takes a minute, is the compiler's own in the first cell alone.
    """
    for depth, kinds, backend in ((8, 3, "inductor"), (14, 5, "aot_eager")):
        monkeypatch.setattr(torch, "compile", partial(COMPILE, backend=backend))
        texts = ("trainer.compile=true", f"model.depth={depth}", "recipe.steps=5", "recipe.drops=[]")
        record = train(tmp_path, *texts)
        how = next(event for event in record.events if event["event"] == "execution")
        assert (record.state, how["compiled_graphs"], how["graph_breaks"]) == ("finished", kinds, 0)


@pytest.mark.parametrize("length", [1, 4, 1000])
def test_the_length_of_a_call_changes_nothing(tmp_path, whole, length):
    assert metrics(train(tmp_path, f"trainer.steps_per_call={length}")) == metrics(whole)


def test_activation_checkpointing_changes_nothing(tmp_path, whole):
    assert metrics(train(tmp_path, "trainer.activation_checkpoint=1")) == metrics(whole)


def test_peak_memory_is_that_of_the_cell_and_not_of_what_ran_before_it():
    before = torch.ones(100 * 2**20)
    del before
    reset_peak_memory(gpu=False)
    peak = peak_memory(torch.device("cpu"))
    during = torch.ones(50 * 2**20)
    assert 0.9 * during.nbytes < peak_memory(torch.device("cpu")) - peak < 1.5 * during.nbytes


def test_a_cell_that_has_ended_holds_no_memory_when_the_next_begins(tmp_path, monkeypatch):
    """Its objects refer to each other, and the garbage collector runs when it likes; on a GPU that is too late."""
    build, networks = fit.initial, list[weakref.ref[nn.Module]]()

    def watched(*all):
        assert not [network for network in networks if network() is not None]
        network = build(*all)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(fit, "initial", watched)
    gc.disable()
    try:
        for seed in range(2):
            record = train(tmp_path, f"seed={seed}", "recipe.steps=3", "recipe.drops=[]")
            assert record.state == "finished", record.status
    finally:
        gc.enable()
    assert len(networks) == 2


def test_the_warm_up_by_training_error_does_not_depend_on_calls_either(tmp_path):
    texts = (
        "recipe.warm_up=train_error",
        "recipe.warm_up_from_depth=0",
        "recipe.steps=130",
        "recipe.learning_rate=0.05",
        "recipe.warm_up_learning_rate=0.02",
    )
    one, other = (
        train(tmp_path / str(length), *texts, f"trainer.steps_per_call={length}") for length in (7, 64)
    )
    assert metrics(one) == metrics(other)
    assert one.epochs[0]["learning_rate"] == 0.02
    assert one.last["learning_rate"] == pytest.approx(0.005)  # warm-up over, one drop


def test_threads_are_the_cores_that_a_process_was_given(monkeypatch):
    """Not those of the node: a requeued cell must sum in the same order on a larger one."""
    texts = ("model.depth=110", "data=cifar10", "recipe=he2015_cifar", "trainer=cpu", "trainer.devices=2")
    cell = make_cell(compose(texts), texts)
    threads = set()
    for cores in (8, 64):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert cpu_threads(parse_config(cell.config), cell.multiply_adds) > 1
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        threads.add(cpu_threads(parse_config(cell.config), cell.multiply_adds))
    assert threads == {1}


@pytest.mark.parametrize("told", ["abc", "0", "²", "-1", ""])
def test_what_is_no_number_of_threads_says_nothing(monkeypatch, told):
    texts = ("model.depth=110", "data=cifar10", "recipe=he2015_cifar", "trainer=cpu")
    cell = make_cell(compose(texts), texts)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    free = cpu_threads(parse_config(cell.config), cell.multiply_adds)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert cpu_threads(parse_config(cell.config), cell.multiply_adds) == free


class AfterCalls(Interruption):
    """Asks to stop after so many looks."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def __bool__(self) -> bool:
        self.calls -= 1
        return self.calls < 0


@pytest.mark.parametrize(("calls", "step"), [(0, 2), (1, 4), (4, 10), (10, 22), (11, 23), (12, 24)])
def test_asked_to_stop_it_saves_and_resumes_at_the_step(tmp_path, whole, calls, step):
    """Step 23 is the last of an epoch: the record must have the epoch before the checkpoint has the step."""
    steps = ("trainer.steps_per_call=2", "trainer.checkpoint_every=1000")
    first = train(tmp_path, *steps, interruption=AfterCalls(calls))
    assert first.state == "killed"
    second = train(tmp_path, *steps)
    assert second.state == "finished"
    assert second.attempts[1]["step"] == step
    assert metrics(second) == metrics(whole)


@pytest.mark.parametrize(("owner", "name", "step"), [(Classifier, "validation_step", 23), (os, "replace", 4)])
def test_a_signal_in_validation_or_in_checkpointing_loses_nothing(
    tmp_path, whole, monkeypatch, owner, name, step
):
    """The work that it interrupts is done; then the run leaves, at the end of the epoch or after the next step."""
    steps = ("trainer.steps_per_call=1", "trainer.checkpoint_every=3")
    original, interruption = getattr(owner, name), Interruption()

    def signalled(*arguments):
        if not interruption:
            signal.raise_signal(signal.SIGTERM)
        return original(*arguments)

    before = signal.getsignal(signal.SIGTERM)
    try:
        interruption.install()
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, signalled)
            first = train(tmp_path, *steps, interruption=interruption)
    finally:
        signal.signal(signal.SIGTERM, before)
    left = checkpoint.load(first.folder)["step"]
    # A checkpoint is written by a thread: meanwhile the run goes on, until it sees the signal.
    assert first.state == "killed" and (left == step if owner is Classifier else step <= left < 30)
    second = train(tmp_path, *steps)
    assert (second.state, second.attempts[1]["step"]) == ("finished", left)
    assert metrics(second) == metrics(whole)


def saved_steps(monkeypatch) -> list[int]:
    steps, save = [], checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *all: (steps.append(all[4]["step"]), save(*all)))
    return steps


def test_without_a_number_of_steps_the_clock_says_when_to_checkpoint(tmp_path, monkeypatch, whole):
    """The first is written at once: a disk that is full shows early. The last always, and when told to stop.

    A resumed run has one already, and a call more is no progress to count starts by.
    """
    steps = saved_steps(monkeypatch)
    texts = ("trainer.checkpoint_every=null", "trainer.steps_per_call=5")
    first = train(tmp_path, *texts, interruption=AfterCalls(3))
    assert first.state == "killed" and steps == [5, 20]
    assert metrics(train(tmp_path, *texts)) == metrics(whole)
    assert steps == [5, 20, 30]
    monkeypatch.setattr("lightning_module.fit.CHECKPOINT_SECONDS", 0.0)
    del steps[:]
    train(tmp_path / "other", *texts)
    assert steps == [5, 10, 15, 20, 23, 25, 30]


def test_a_checkpoint_that_cannot_be_written_fails_the_cell(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    record = train(tmp_path)
    assert record.state == "failed" and "No space left on device" in record.status["error"]


@pytest.mark.parametrize("calls", [None, 2])
def test_images_per_second_wait_for_the_device(tmp_path, monkeypatch, calls):
    """On a GPU steps are only told; here each leaves a second of work, which is done when somebody reads a result.

    calls: of a first attempt, whose part of the epoch is in its checkpoint. The clock is made up: nothing else takes
    time.
    """
    step, read, owed, clock = Step.__call__, torch.Tensor.tolist, [0], [0.0]

    def told(self, *inputs):
        owed[0] += 1
        step(self, *inputs)

    def waited(self):
        clock[0] += owed[0]
        owed[0] = 0
        return read(self)

    monkeypatch.setattr(Step, "__call__", told)
    monkeypatch.setattr(torch.Tensor, "tolist", waited)
    monkeypatch.setattr(classifier, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    texts = ("trainer.checkpoint_every=1000", "trainer.steps_per_call=5")
    if calls:
        assert train(tmp_path, *texts, interruption=AfterCalls(calls)).state == "killed"
    record = train(tmp_path, *texts)
    assert record.attempts[-1]["step"] == 5 * (calls + 1 if calls else 0)
    assert [epoch["images_per_second"] for epoch in record.epochs] == [64, 64]


@pytest.mark.parametrize("attempt", range(3))
def test_killed_at_any_moment_it_resumes_bit_for_bit(tmp_path, whole, attempt):
    """SIGKILL, several times at random moments, then to the end."""
    texts = [
        *SMALL,
        "trainer=cpu",
        f"runs={tmp_path}",
        "trainer.steps_per_call=1",
        "trainer.checkpoint_every=3",
    ]
    cell = make_cell(compose(texts), tuple(texts))
    moments = random.Random(attempt)
    for _ in range(2):
        process = forks.Process(target=slow_run, args=(texts,))
        process.start()
        deadline = time.monotonic() + 180
        before = len(read(cell.run_folder).attempts)
        while len(read(cell.run_folder).attempts) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1.2))
        process.kill()
        process.join()
    assert read(cell.run_folder).state == "killed"
    record = run(cell, Interruption())
    assert record.state == "finished"
    assert len(record.attempts) == 3
    assert metrics(record) == metrics(whole)


def slow_run(texts: list[str]) -> None:
    """In the process that is killed: slow enough that a moment is somewhere inside the run, and never at its end,
    because 13 steps in each of two attempts are fewer than the 30 of the cell."""

    class Slow(Interruption):
        looks = 0

        def __bool__(self) -> bool:
            self.looks += 1
            time.sleep(0.09 if self.looks < 13 else 3600)
            return False

    run(make_cell(compose(texts), tuple(texts)), Slow())


def test_a_kill_between_the_last_checkpoint_and_the_status_ends_finished(tmp_path, whole):
    record = train(tmp_path)
    path = record.folder / "record.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    assert read(record.folder).state == "killed"
    again = train(tmp_path)
    assert again.state == "finished"
    assert metrics(again) == metrics(whole)
    assert right_events(again) == right_events(whole)


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory) -> Record:
    """An uninterrupted run of two processes."""
    return train(tmp_path_factory.mktemp("two"), "trainer.devices=2")


@pytest.mark.parametrize(
    ("sync", "texts"),
    [
        (True, ()),
        (True, ("trainer.activation_checkpoint=1",)),
        (False, ("trainer.sync_batch_norm=false",)),
    ],
)
def test_two_processes_train_the_same_global_batch(tmp_path, whole, whole_of_two, sync, texts):
    record = train(tmp_path, "trainer.devices=2", *texts) if texts else whole_of_two
    assert record.state == "finished"
    assert record.attempts[0]["batch_norm_images"] == (64 if sync else 32)
    for ours, theirs in zip(metrics(record), metrics(whole), strict=True):
        same = ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-4)
        assert same == sync
    if sync:
        assert metrics(record)[-1]["test/loss"] == pytest.approx(whole.last["test/loss"], rel=1e-3)
    ours, theirs = (right_images(each.events, "test/error") for each in (record, whole))
    assert 100 * (~ours).sum() / 355 == record.last["test/error"]
    if sync:  # rounding may turn a guess; another order would change a third
        assert (ours != theirs).mean() < 0.02


def test_two_processes_resume_too(tmp_path, whole_of_two):
    texts = ("trainer.devices=2", "trainer.steps_per_call=5")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\n"
        "if os.environ.get('RANK') == '1':\n"
        "    import lightning_module.training.interruption as i\n"
        "    looks = []\n"
        "    def asked(self):\n"
        "        looks.append(1)\n"
        "        return len(looks) == 6\n"
        "    i.Interruption.__bool__ = asked\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
        cut = train(tmp_path / "cut", *texts)
    assert cut.state == "killed", "only rank 1 was asked to stop: both must leave together"
    again = train(tmp_path / "cut", *texts)
    assert again.attempts[1]["step"] == 25
    assert again.state == "finished"
    losses = [[epoch["train/loss"] for epoch in record.epochs] for record in (again, whole_of_two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_processes_do_not_outlive_the_one_that_started_them(tmp_path):
    """SIGKILL of the command alone: its ranks save and leave, so that the same command can go on."""
    texts = [*SMALL, "trainer=cpu", f"runs={tmp_path}", "trainer.devices=2", "recipe.steps=5000"]
    cell = make_cell(compose(texts), tuple(texts))
    process = server().start("run.py", *texts, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not read(cell.run_folder).epochs:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    while read(cell.run_folder).state == "running":
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)
    found = read(cell.run_folder)
    assert found.state == "killed"
    assert checkpoint.load(cell.run_folder)["step"] >= found.last["step"]


def test_a_process_that_fails_fails_the_cell_with_its_traceback(tmp_path, monkeypatch):
    """Rank 1 cannot read its data: the record says so, and nothing hangs."""
    monkeypatch.setenv("FAIL_RANK", "1")
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('RANK') == os.environ.get('FAIL_RANK'):\n"
        "    import lightning_module.training.recipe as r\n"
        "    def broken(*a, **k): raise RuntimeError('rank 1 is broken')\n"
        "    r.optimizer = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    record = train(tmp_path / "runs", "trainer.devices=2")
    assert record.state == "failed"
    assert "rank 1 is broken" in record.status["traceback"]


def test_when_rank_0_fails_no_rank_waits_for_it(tmp_path, monkeypatch):
    """Rank 1 waits for ever, as for a collective on a GPU whose other end is gone."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\n"
        "if 'RANK' in os.environ:\n"
        "    from lightning_module.training.classifier import Classifier\n"
        "    def broken(*_):\n"
        "        if os.environ['RANK'] == '0': raise RuntimeError('rank 0 is broken')\n"
        "        time.sleep(300)\n"
        f"        open({str(tmp_path / 'waited')!r}, 'w').close()\n"
        "    Classifier.prepare = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    record = train(tmp_path / "runs", "trainer.devices=2")
    assert record.state == "failed" and "rank 0 is broken" in record.status["error"]
    assert not (tmp_path / "waited").exists()


def test_ranks_agree_without_their_devices(monkeypatch):
    """By a device that cannot be read, where a GPU's would be waited for."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        config: Any = None
        told = fit._Training(config, Path(), Interruption(), config)
        module: Any = SimpleNamespace(trainer=SimpleNamespace(world_size=2), device=torch.device("meta"))
        told.module = module
        assert told._agreed(stop=True, due=False) == (True, False)
        assert told._agreed(stop=False, due=True) == (False, True)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("rate", ["0.1", "1e30"])
def test_processes_that_end_together_leave_no_group(tmp_path, monkeypatch, rate):
    """A thread of gloo that lets go of a tensor while Python ends would abort the process."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    texts = (*SMALL, "trainer=cpu", f"runs={tmp_path}", "trainer.devices=2", f"recipe.learning_rate={rate}")
    (tmp_path / "cell.json").write_text(json.dumps(asdict(make_cell(compose(texts), texts))))
    script = tmp_path / "rank.py"
    script.write_text(
        "import sys, torch.distributed, lightning_module.fit\n"
        "lightning_module.fit.main(sys.argv[1])\n"
        "sys.exit(torch.distributed.is_initialized())\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, str(script), str(tmp_path / "cell.json")], timeout=200, check=True)


def test_divergence_is_a_result(tmp_path):
    record = train(tmp_path, "recipe.learning_rate=1e30")
    assert record.state == "diverged"
    assert "nan" in record.status["error"] or "inf" in record.status["error"]
    assert len(record.epochs) == 1


def test_a_checkpoint_cannot_run_code(tmp_path):
    record = train(tmp_path, "recipe.steps=12", interruption=AfterCalls(0))
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    with open(record.folder / checkpoint.FILE, "wb") as file:
        torch.save({"step": Payload()}, file, pickle_module=pickle)
    again = train(tmp_path, "recipe.steps=12")
    assert (again.state, again.attempts[-1]["step"]) == ("finished", 0)
    assert "cannot be read as a checkpoint" in again.events[0]["reason"]
    assert not marker.exists()


def test_the_last_batch_norm_sees_the_global_batch(tmp_path):
    """The synchronised statistics of two halves are those of the whole, and so are the gradients."""
    results = tmp_path / "results"
    in_ranks(2, _half, tmp_path / "store", results)
    torch.manual_seed(0)
    images = torch.randn(8, 4, 5, 5, requires_grad=True)
    norm = torch.nn.BatchNorm2d(4)
    (norm(images) * torch.arange(8.0).view(8, 1, 1, 1)).square().sum().backward()
    for rank in (0, 1):
        gradient, mean, variance = torch.load(f"{results}-{rank}")
        torch.testing.assert_close(gradient, images.grad[rank * 4 : rank * 4 + 4], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(mean, norm.running_mean)
        torch.testing.assert_close(variance, norm.running_var)


def _half(rank: int, store: Path, results: Path) -> None:
    import torch.distributed as dist

    from lightning_module.training.sync_batch_norm import synchronise_batch_norm

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    images = torch.randn(8, 4, 5, 5)[rank * 4 : rank * 4 + 4].requires_grad_()
    norm = synchronise_batch_norm(torch.nn.Sequential(torch.nn.BatchNorm2d(4)), gpu=False)[0]
    (norm(images) * torch.arange(8.0)[rank * 4 : rank * 4 + 4].view(4, 1, 1, 1)).square().sum().backward()
    torch.save([images.grad, norm.running_mean, norm.running_var], f"{results}-{rank}")
    dist.destroy_process_group()


def test_narrow_projections_corrupt_no_memory(tmp_path):
    """In channels_last PyTorch 2.13's backward pass on a CPU writes beyond its own there, and the process is killed."""
    narrow = ("model.width=4", "model.shortcut=B", "model.depth=20", "recipe.steps=40", "recipe.drops=[30]")
    done = server().run("run.py", *SMALL, *narrow, "trainer=cpu", "trainer.threads=1", f"runs={tmp_path}")
    assert done.returncode == 0, done.stderr
