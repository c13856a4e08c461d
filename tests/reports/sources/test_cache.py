"""The cache of parsed runs: what it keeps, and that whatever else lies in its place is done without."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import sweep

from lightning_module.cell import record
from reports import sources
from reports.sources import _cache, records
from reports.sources._frames import ParsedRun

RUN = ParsedRun(
    cell={"identity": "a", "config": {"model.depth": 20, "recipe.drops": [1, 2]}},
    attempt={"attempt": 2},
    attempts=2,
    status={"status": "finished"},
    events=[{"event": "layer_responses", "responses": [["stem", 1.25]]}],
    damage="",
    names=("epoch", "test/error"),
    rows=np.array([[1.0, 0.1 + 0.2], [2.0, np.nan]]),
    note="its file is cut off",
    summary={"test/error": None},
    foreign=True,
    key="12:34",
    checksum="0123456789ab",
)
EMPTY = ParsedRun({}, {}, 0, {}, [], "no record", (), np.empty((0, 0)))


def test_what_was_kept_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a folder that is made" / "cache.npz"
    _cache.write_cache(path, {"a": RUN, "b": EMPTY, "c": RUN}, "mark")
    runs, mark = _cache.read_cache(path)
    assert (list(runs), mark) == (["a", "b", "c"], "mark")
    for name, run in (("a", RUN), ("b", EMPTY), ("c", RUN)):
        np.testing.assert_array_equal(runs[name].rows, run.rows)
        assert vars(runs[name]) | {"rows": 0} == vars(run) | {"rows": 0}
    assert [file.name for file in path.parent.iterdir()] == ["cache.npz"]


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """The arrays of a cache file changed, and put into a file that is whole."""

    def edit(data: bytes) -> bytes:
        arrays = dict(np.load(io.BytesIO(data)))
        change(arrays)
        return archive(**arrays)

    return edit


def other_index(arrays: dict[str, Any]) -> None:
    index = json.loads(arrays["index"].tobytes())
    for fields in index["runs"].values():
        fields["cell"] = 5
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), np.uint8)


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a text": lambda data: b"no archive",
    "the start of an archive": lambda data: b"PK\x03\x04 cut",
    "parquet": lambda data: b"PAR1 nonsense",
    "cut off": lambda data: data[: len(data) // 2],
    "cut off at its end": lambda data: data[:-1],
    "a bit flipped": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    ),
    "an array without a name": lambda data: (lambda f: (np.save(f, np.zeros(3)), f.getvalue())[1])(
        io.BytesIO()
    ),
    "other arrays": lambda data: archive(other=np.zeros(3)),
    "an index that is another": edited(other_index),
    "numbers that are texts": edited(lambda arrays: arrays.update(numbers=arrays["numbers"].astype(str))),
    "too few numbers": edited(lambda arrays: arrays.update(numbers=arrays["numbers"][:-1])),
    "too many numbers": edited(lambda arrays: arrays.update(numbers=np.append(arrays["numbers"], 1.0))),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_file_that_is_wrong_in_any_way_is_ignored_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[bytes], bytes]
) -> None:
    sweep(tmp_path, depths=[20], shortcuts="A", seeds=range(2))
    before = sources.load("records", tmp_path, None)
    cache = tmp_path / records.CACHE
    cache.write_bytes(wrong(cache.read_bytes()))
    assert _cache.read_cache(cache) == ({}, "")
    again = sources.load("records", tmp_path, None)
    assert again.runs.equals(before.runs)
    assert again.history.equals(before.history)
    monkeypatch.setattr(record, "read", lambda folder: pytest.fail(f"{folder} was parsed again"))
    sources.load("records", tmp_path, None)


def test_a_file_of_another_version_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.npz"
    monkeypatch.setattr(_cache, "VERSION", _cache.VERSION - 1)
    _cache.write_cache(path, {"a": RUN})
    assert set(_cache.read_cache(path)[0]) == {"a"}
    monkeypatch.undo()
    assert _cache.read_cache(path) == ({}, "")


def test_a_folder_in_its_place_or_one_that_cannot_be_written_to_is_done_without(tmp_path: Path) -> None:
    sweep(tmp_path, depths=[20], shortcuts="A", seeds=range(2))
    (tmp_path / records.CACHE / "full").mkdir(parents=True)
    assert len(sources.load("records", tmp_path, None).runs) == 2
    assert len(sources.load("records", tmp_path, None).runs) == 2
    (tmp_path / "file").write_text("")
    _cache.write_cache(tmp_path / "file" / "cache.npz", {"a": RUN})
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_empty_folder_in_its_place_is_made_a_file_again(tmp_path: Path) -> None:
    sweep(tmp_path, depths=[20], shortcuts="A", seeds=range(2))
    (tmp_path / records.CACHE).mkdir()
    assert len(sources.load("records", tmp_path, None).runs) == 2
    assert len(_cache.read_cache(tmp_path / records.CACHE)[0]) == 2


def test_runs_whose_folders_are_gone_are_forgotten_and_those_of_other_sweeps_are_not(tmp_path: Path) -> None:
    first = sweep(tmp_path, depths=[20], shortcuts="A", seeds=range(2), name="first")
    second = sweep(tmp_path, depths=[56], shortcuts="A", seeds=range(2), name="second")
    for manifest in (first, second):
        assert len(sources.load("records", tmp_path, manifest).runs) == 2
    assert len(_cache.read_cache(tmp_path / records.CACHE)[0]) == 4
    gone = tmp_path / first.cells[0]["identity"]
    (gone / record.FILE).unlink()
    gone.rmdir()
    (tmp_path / second.cells[0]["identity"] / record.FILE).touch()
    sources.load("records", tmp_path, None)
    assert len(_cache.read_cache(tmp_path / records.CACHE)[0]) == 3
