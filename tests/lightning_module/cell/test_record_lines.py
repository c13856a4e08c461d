"""A record is strict: what was changed in it, by a hand or by a fault, never passes for a result."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations.__main__ import main as ablations
from ablations.sweep.compose import compose, make_cell
from ablations.sweep.plan import announce, sweep
from ablations.sweep.request import request
from lightning_module.cell.record import FILE, RecordError, Writer, last_event, read
from reports.__main__ import main as reports

STEPS, MUTATIONS, COMMANDS = 30, 300, 8
OVERRIDES = ("model.depth=8", f"recipe.steps={STEPS}", "recipe.drops=[20]")
RESPONSES = [["stem.conv", 1.25], ["classifier", math.inf]]


def write(runs: Path, *overrides: str, epochs: int = 3, status: str = "finished") -> Path:
    """The record of a cell of three epochs, with the program's own writer."""
    cell = make_cell(compose((*OVERRIDES, *overrides)), (*OVERRIDES, *overrides))
    folder = runs / cell.identity
    folder.mkdir(parents=True)
    writer = Writer(folder, cell)
    about: dict[str, Any] = {"versions": {"torch": "2.13.0"}, "hardware": "a CPU, 1 threads", "devices": 1}
    writer.start(0, {**about, "commit": "abc", "dirty": False, "job": "", "realised": {"layers": 8}})
    for epoch in range(1, epochs + 1):
        loss = math.nan if status == "diverged" and epoch == epochs else 1 / epoch
        metrics = {"train/loss": loss, "train/error": 40.0 / epoch, "test/error": 50.5 / epoch}
        writer.epoch(
            epoch, 10 * epoch, {**metrics, "learning_rate": 0.1, "seconds": 1.5, "images_per_second": 9.0}
        )
    if status == "finished":
        writer.event("layer_responses", step=STEPS, responses=RESPONSES)
    writer.finish(status, 10 * epochs)  # type: ignore[arg-type]
    writer.close()
    return folder


def unsealed(folder: Path) -> list[dict[str, Any]]:
    """The lines as an older program wrote them, without checksums."""
    lines = [json.loads(row) for row in (folder / FILE).read_text().splitlines()]
    return [{key: line[key] for key in line if key != "crc"} for line in lines]


def put(folder: Path, lines: list[Any]) -> None:
    (folder / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def refuse(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def test_records_are_strict_json_that_keeps_what_is_not_finite(tmp_path):
    for name, status in (("0", "diverged"), ("1", "finished")):
        folder = write(tmp_path / name, status=status)
        for row in (folder / FILE).read_text().splitlines():
            json.loads(row, parse_constant=refuse)
    assert read(folder).events[0]["responses"] == RESPONSES
    diverged = read(tmp_path / "0" / folder.name)
    assert diverged.state == "diverged"
    assert math.isnan(diverged.last["train/loss"])


def test_records_of_the_older_program_are_read(tmp_path):
    """Without checksums, and with the bare NaN of a loss."""
    folder = write(tmp_path, status="diverged")
    lines = unsealed(folder)
    lines[-2]["train/loss"] = math.nan
    put(folder, lines)
    assert "NaN" in (folder / FILE).read_text()
    assert (read(folder).state, len(read(folder).epochs)) == ("diverged", 3)
    put(folder, unsealed(folder)[:-2])
    writer = Writer(folder, make_cell(compose(OVERRIDES), OVERRIDES))
    writer.start(20, {})  # this program goes on with it
    writer.close()
    assert (read(folder).state, len(read(folder).attempts)) == ("killed", 2)


def test_which_images_were_right_is_read_as_it_was_written(tmp_path):
    folder = write(tmp_path)
    put(folder, right(top5_error="/4A=")(unsealed(folder)))
    record = read(folder)
    assert (record.state, record.damage) == ("finished", "")
    assert last_event(record.events, "right_images", test="test")["error"] == "/4A="
    assert last_event(record.events, "right_images", test="validation") == {}


def test_half_a_character_in_a_traceback_does_not_damage_the_record(tmp_path):
    folder = write(tmp_path, epochs=1, status="failed")
    writer = Writer(folder, make_cell(compose(OVERRIDES), OVERRIDES))
    writer.finish("failed", 10, error="no", traceback="open('\udcff.png') and 日本")
    writer.close()
    assert read(folder).status["traceback"] == "open('\\udcff.png') and 日本"


def moved(one: int, other: int) -> Callable[[list[Any]], list[Any]]:
    def change(lines: list[Any]) -> list[Any]:
        lines[one], lines[other] = lines[other], lines[one]
        return lines

    return change


def changed(number: int, **values: Any) -> Callable[[list[Any]], list[Any]]:
    def change(lines: list[Any]) -> list[Any]:
        lines[number] |= {key.replace("__", "/"): value for key, value in values.items()}
        return lines

    return change


def right(**values: Any) -> Callable[[list[Any]], list[Any]]:
    """The event of nine images, all of them right, with other values."""
    event = {"event": "right_images", "test": "test", "images": 9, "error": "/4A="}
    return changed(5, **{**event, **values})


def config(key: str, value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda lines: [{**lines[0], "config": {**lines[0]["config"], key: value}}, *lines[1:]]


HUGE = 10**400
ODD: dict[str, Callable[[list[Any]], list[Any]]] = {
    "line 3 (epoch 2 where epoch 1 is due)": moved(2, 3),
    "line 4 (epoch 3 where epoch 2 is due)": lambda lines: [*lines[:3], *lines[4:]],
    "line 4 (epoch 1 where epoch 2 is due)": lambda lines: [*lines[:3], *lines[2:]],
    "line 8 (an epoch after the status of its attempt)": lambda lines: [*lines, lines[4]],
    "line 6 (it is finished at step 30, but its epochs end at 20)": lambda lines: [*lines[:4], *lines[5:]],
    "line 3 (it is finished at step 30, but its epochs end at 0)": lambda lines: [*lines[:2], lines[-1]],
    "line 8 (it is finished after it was finished, without an attempt between)": lambda lines: [
        *lines,
        lines[-1],
    ],
    "line 7 (it is finished at step 40, but its epochs end at 30)": changed(6, step=40),
    "line 7 (it is finished at step 31 of 30)": lambda lines: changed(6, step=31)(changed(4, step=31)(lines)),
    "line 4 (its step is 10, not after 10, that of the epoch before)": changed(3, step=10),
    "line 3 (it is diverged without an epoch)": lambda lines: [
        *lines[:2],
        {**lines[-1], "status": "diverged"},
    ],
    "line 7 (it is finished, but its training loss is no number)": changed(4, train__loss="NaN"),
    "line 3 (its seconds is NaN)": changed(2, seconds=math.nan),
    "line 3 (its seconds is -1)": changed(2, seconds=-1),
    "line 3 (its seconds is 1e+300)": changed(2, seconds=1e300),
    "line 3 (its test/error is 169.86, which is no percentage)": changed(2, test__error=169.86),
    "line 3 (its test/error is NaN)": changed(2, test__error=math.nan),
    "line 3 (its train/loss is a list)": changed(2, train__loss=[1]),
    "line 3 (its learning_rate is null)": changed(2, learning_rate=None),
    "line 3 (its learning_rate is 1000000000": changed(2, learning_rate=HUGE),
    "line 3 (its epoch is true)": changed(2, epoch=True),
    'line 2 (its devices is "two")': changed(1, devices="two"),
    "line 2 (its devices is 0)": changed(1, devices=0),
    "line 2 (its versions is 3)": changed(1, versions=3),
    "line 2 (its hardware is a mapping)": changed(1, hardware={"gpu": [[1]]}),
    "line 2 (its dirty is 1)": changed(1, dirty=1),
    "line 2 (it holds NaN, which is no JSON)": changed(1, note=[math.nan]),
    "line 2 (its brackets are nested too deeply)": changed(1, note=[[[[[[[[[1]]]]]]]]]),
    "line 6 (its responses is a list)": changed(5, responses=[["stem.conv", "high"]]),
    "line 6 (its responses is {})": changed(5, responses={}),
    'line 6 (its step is "30")': changed(5, step="30"),
    "line 7 (its error is [])": changed(6, error=[]),
    "line 6 (its images is 0)": right(images=0),
    "line 6 (its images is 9.0)": right(images=9.0),
    "line 6 (its test is null)": right(test=None),
    "line 6 (its error is missing)": changed(5, event="right_images", test="test", images=9),
    'line 6 (its error is "/w==", which does not hold a bit for each of 9 images)': right(error="/w=="),
    'line 6 (its error is "/8A=", which does not hold a bit for each of 9 images)': right(error="/8A="),
    'line 6 (its error is "no", which does not': right(error="no"),
    "line 6 (its error is null, which does not": right(error=None),
    'line 6 (its top5_error is "/4AA", which does not': right(top5_error="/4AA"),
    "line 1 (its parameters is 1.5)": changed(0, parameters=1.5),
    "line 1 (its overrides is a list)": changed(0, overrides=[1]),
    "line 1 (its name is null)": changed(0, name=None),
    'line 1 (its identity is "../x")': changed(0, identity="../x"),
    "line 1 (its config has model.depth=a mapping)": config("model.depth", {"deep": 8}),
    "line 1 (its config has recipe.drops=a list)": config("recipe.drops", [[20]]),
    'line 1 (its config has recipe.steps="30")': config("recipe.steps", "30"),
    "line 1 (its config is not that of cell ": config("recipe.learning_rate", 0.5),
}


@pytest.mark.parametrize("said", ODD)
def test_odd_lines_are_one_sentence_that_names_file_and_line(tmp_path, said):
    """In a record without checksums, so that what is said is of the values."""
    folder = write(tmp_path)
    put(folder, ODD[said](unsealed(folder)))
    record = read(folder)
    assert (record.state, record.epochs) == ("damaged", ())
    assert record.damage.startswith(f"{folder / FILE} is damaged in {said}")
    assert "\n" not in record.damage
    assert len(record.damage) < 400
    with pytest.raises(RecordError):
        Writer(folder, make_cell(compose(OVERRIDES), OVERRIDES))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "it is not one of JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "it is not one of JSON"),
        (b'{"event": "epoch", "epoch": 1, "epoch": 1, "step": 10, "seconds": 1}', "it has a key twice"),
        (
            b'{"event": "epoch", "epoch": 1, "step": ' + b"9" * 5000 + b', "seconds": 1}',
            "it is not one of JSON",
        ),
        (b"\xff\xfe", "it is not one of JSON"),
        (b"null", "it is not one of JSON"),
        (b"", "it is not one of JSON"),
    ],
)
def test_rows_that_no_reader_expects(tmp_path, row, said):
    folder = write(tmp_path)
    rows = (folder / FILE).read_bytes().splitlines()
    (folder / FILE).write_bytes(b"\n".join([*rows[:2], row, *rows[3:]]) + b"\n")
    assert f"line 3 ({said})" in read(folder).damage


def test_a_value_that_was_changed_is_found_by_its_checksum(tmp_path):
    """Of the size and kind of the true one."""
    folder = write(tmp_path)
    text = (folder / FILE).read_text()
    for change in (('"test/error": 25.25', '"test/error": 25.24'), ('"name": "ResNet', '"name": "resNet')):
        (folder / FILE).write_text(text.replace(*change))
        assert "its checksum does not fit" in read(folder).damage
    (folder / FILE).write_text(text)
    assert read(folder).state == "finished"


def test_a_line_that_somebody_adds_without_a_checksum_is_damage(tmp_path):
    folder = write(tmp_path, "seed=0")
    rows = (folder / FILE).read_text().splitlines(keepends=True)
    (folder / FILE).write_text("".join([*rows[:-1], json.dumps(unsealed(folder)[-1]) + "\n"]))
    assert "has no checksum" in read(folder).damage


def mutation(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """One fault of a file, or one slip of a hand."""
    rows = data.splitlines(keepends=True)
    one, two, place = chance.randrange(len(rows)), chance.randrange(len(rows)), chance.randrange(len(data))
    kind = chance.choice(
        ("delete", "swap", "double", "type", "flip", "cut", "foreign", "zeros", "append", "unseal")
    )
    if kind == "delete":
        return b"".join(rows[:one] + rows[one + 1 :])
    if kind == "swap":
        rows[one], rows[two] = rows[two], rows[one]
    if kind == "double":
        rows.insert(two, rows[one])
    if kind == "append":
        rows.append(rows[one])
    if kind == "foreign":
        rows[one] = other.splitlines(keepends=True)[one]
    if kind in ("type", "unseal"):
        line = json.loads(rows[one])
        key = "crc" if kind == "unseal" else chance.choice(list(line))
        line.pop(key)
        if kind == "type":
            line[key] = chance.choice(
                (None, [], {}, "x", -1, 0, 1e9, math.nan, True, {"a": [[]]}, HUGE, "NaN")
            )
        rows[one] = json.dumps(line).encode() + b"\n"
    if kind == "flip":
        return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
    if kind in ("cut", "zeros"):
        return data[:place] + bytes(len(data) - place if kind == "zeros" else 0)
    return b"".join(rows)


def test_mutated_records_never_pass_for_another_result(tmp_path, capsys):
    """MUTATIONS of a finished record, seeded; every COMMANDS-th is shown to the commands as well."""
    asked = sweep(request([*OVERRIDES, "seed=0,1", f"runs={tmp_path / 'runs'}"]), ["python", "run.py"])
    manifest = announce(asked, "cpu").stem
    folder, whole = (write(tmp_path / "runs", f"seed={seed}") for seed in (0, 1))
    path, data, other = folder / FILE, (folder / FILE).read_bytes(), (whole / FILE).read_bytes()
    truth, states, chance = (
        read(folder).epochs,
        dict.fromkeys(("finished", "killed", "damaged"), 0),
        random.Random(12),
    )
    for number in range(MUTATIONS):
        path.write_bytes(mutation(chance, data, other))
        record = read(folder)
        states[record.state if record.state != "planned" else "killed"] += 1
        assert record.state != "finished" or record.epochs == truth
        if number % COMMANDS:
            continue
        where = ["--runs", str(tmp_path / "runs")]
        assert ablations(["plan", *OVERRIDES, "seed=0,1", *where]) == 0
        said = capsys.readouterr().out
        assert record.damage in said
        assert reports([manifest, *where, "--out", str(tmp_path / "out")]) == 0
        shown = capsys.readouterr()
        assert ("1 damaged" in shown.out) == (record.state == "damaged")
        assert record.damage in shown.err
        code = ablations(["why", whole.name, folder.name, *where])
        assert (code, record.damage in capsys.readouterr().err) == (2 * (not record.cell), True)
    assert all(states.values()), states
