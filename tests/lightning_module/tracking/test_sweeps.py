"""What a run on W&B carries of the sweeps that asked for it."""

from __future__ import annotations

import json
import os
import zlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from lightning_module.tracking import sweeps
from lightning_module.tracking.sweeps import carried, group, pack, unpack


def write(runs: Path, name: str, identities: list[str], when: float = 1e9, **more: Any) -> Path:
    path = runs / "sweeps" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"identity": identity} for identity in identities]
    path.write_text(
        json.dumps({"name": name, "command": f"run {name}", "study": None, "cells": cells} | more)
    )
    os.utime(path, (when, when))
    return path


def test_a_run_carries_the_sweeps_that_asked_for_it_newest_first(tmp_path: Path) -> None:
    write(tmp_path, "old", ["a", "b"], when=1)
    path = write(tmp_path, "new", ["b"], when=2, study="depth")
    write(tmp_path, "other", ["c"], when=3, command="names b in passing")
    told = carried(tmp_path / "b")
    assert list(told) == ["new", "old"]
    assert told["old"]["command"] == "run old" and told["old"]["cells"] == 2
    assert unpack(told["new"]["manifest"]) == json.loads(path.read_text())
    assert carried(tmp_path / "d") == {}


def test_the_group_is_the_study_or_the_sweep_asked_for_last(tmp_path: Path) -> None:
    write(tmp_path, "alone", ["a"], when=3)
    assert group(carried(tmp_path / "a")) is None, "one cell is no group"
    write(tmp_path, "grid", ["a", "b"], when=4)
    assert group(carried(tmp_path / "a")) == "grid"
    write(tmp_path, "study", ["a"], when=5, study="depth")
    assert group(carried(tmp_path / "a")) == "depth"


def test_what_is_large_is_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{index:012x}" for index in range(60)]
    write(tmp_path, "large", names)
    monkeypatch.setattr(sweeps, "SHARE", 20)
    told = [carried(tmp_path / name)["large"] for name in names]
    assert all(about["cells"] == 60 for about in told), "each says how many there are"
    assert [index for index, about in enumerate(told) if "manifest" in about] == list(range(0, 60, 4))


def test_damaged_manifests_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "good", ["a", "b"])
    for name, text in (
        ("empty", ""),
        ("list", '["a"]'),
        ("cells", '{"cells": "a"}'),
        ("cell", '{"cells": ["a"]}'),
        ("number", '{"cells": [{"identity": "a"}, 3]}'),
        ("deep", '{"cells": ' + "[" * 100_000),
    ):
        (tmp_path / "sweeps" / f"{name}.json").write_text(text)
    os.mkfifo(tmp_path / "sweeps" / "pipe.json")
    (tmp_path / "sweeps" / "folder.json").mkdir()
    assert list(carried(tmp_path / "a")) == ["good"]


def test_what_was_not_packed_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pack({"a": 1})
    assert unpack(whole) == {"a": 1}
    for text in ("", "é", "AAAA", whole[:-8], b64encode(zlib.compress(b"no JSON")).decode()):
        with pytest.raises(ValueError):  # noqa: PT011
            unpack(text)
    monkeypatch.setattr(sweeps, "LARGEST", 1000)
    with pytest.raises(ValueError, match="does not end"):
        unpack(pack("x" * 5000))
