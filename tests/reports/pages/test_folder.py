"""A report's folder: files are replaced whole, and those of somebody else are never lost."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lightning_module.support.errors import ConfigError
from reports.pages import folder


def test_a_reader_of_a_file_that_is_replaced_has_the_old_one_whole(tmp_path: Path) -> None:
    folder.write(tmp_path / "r", {"report.md": "old", "tables/a.csv": "1"})
    with (tmp_path / "r" / "report.md").open() as file:
        folder.write(tmp_path / "r", {"report.md": "new"})
        assert file.read() == "old"
    assert (tmp_path / "r" / "report.md").read_text() == "new"
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_file_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "r" / "report.md" / "full").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be written to"):
        folder.write(tmp_path / "r", {"report.md": "text"})
    assert not list(tmp_path.rglob("*.tmp"))


def digests(path: Path) -> Path:
    return path / folder.LIST


def test_nothing_is_deleted_that_no_list_names(tmp_path: Path) -> None:
    """The user's own figures and tables, and what a report wrote before there were lists."""
    mine = {"figures/mine.svg": "<svg/>", "tables/mine.csv": "1", "tables/mine.tex": "2", "notes.md": "3"}
    for name, text in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert folder.write(tmp_path, {"index.md": "a", "tables/old.csv": "b"}) == []
    assert folder.write(tmp_path, {"index.md": "a"}) == []
    assert not (tmp_path / "tables" / "old.csv").exists()
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    assert folder.differing(tmp_path, {"index.md": "a"}) == []


def test_what_is_left_over_is_said_and_deleted_unless_it_was_changed(tmp_path: Path) -> None:
    folder.write(tmp_path, {"report.md": "a", "tables/one.csv": "1", "tables/two.csv": "2"})
    (tmp_path / "tables" / "two.csv").write_text("mine now")
    (line,) = folder.differing(tmp_path, {"report.md": "a"})
    assert line == f"{tmp_path}/tables/one.csv: left over from an earlier report"
    (said,) = folder.write(tmp_path, {"report.md": "a"})
    assert "kept tables/two.csv, which somebody changed" in said
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["two.csv"]
    assert folder.write(tmp_path, {"report.md": "b"}) == [], "it is somebody's own from now on"


def test_a_file_in_the_way_is_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("my page")
    for text in ("first", "second"):
        said = folder.write(tmp_path, {"index.html": text, "index.md": text})
        assert len(said) == (text == "first")
    assert (tmp_path / "index.html").read_text() == "second"
    assert (tmp_path / "index.html.old").read_text() == "my page"
    (tmp_path / "index.html").write_text("my page again")
    assert "kept index.html.old.2" in "".join(folder.write(tmp_path, {"index.html": "third"}))
    assert (tmp_path / "index.html.old.2").read_text() == "my page again"


@pytest.mark.parametrize(
    "name", ["../x.svg", "/tmp/x.svg", "figures/../../x.svg", "figures/x.svg", "x", "tables/\0.csv"]
)
def test_a_list_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    """Of a list that somebody wrote: names outside, and a folder that is a link to elsewhere."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for path in (out, elsewhere):
        path.mkdir()
    for path in (tmp_path / "x.svg", elsewhere / "x.svg", out / "x"):
        path.write_text("precious")
    (out / "figures").symlink_to(elsewhere)
    content = {name: [hashlib.sha256(b"precious").hexdigest()]}
    digests(out).write_text(json.dumps(content))
    assert folder.differing(out, {}) == []
    folder.write(out, {"report.md": "a"})
    assert all(path.exists() for path in (tmp_path / "x.svg", elsewhere / "x.svg", out / "x"))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"report.md": 1}', b'{"report.md": [[]]}', b"NaN"]
)
def test_an_odd_list_is_none(tmp_path: Path, content: bytes) -> None:
    digests(tmp_path).write_bytes(content)
    assert folder.write(tmp_path, {"report.md": "a"}) == []
    assert list(json.loads(digests(tmp_path).read_text())) == ["report.md"]


def test_an_interrupted_report_still_knows_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of it: old files are whole, and the next report takes none for somebody's."""
    old, new = ({f"tables/{name}.csv": text for name in "abc"} for text in ("old", "new"))
    folder.write(tmp_path, old)
    whole = folder.whole_file

    def full(path: Path) -> Any:
        if path.name == "b.csv":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return whole(path)

    monkeypatch.setattr(folder, "whole_file", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        folder.write(tmp_path, new)
    monkeypatch.undo()
    texts = {name: (tmp_path / name).read_text() for name in new}
    assert sorted(texts.values()) == ["new", "old", "old"]
    assert folder.write(tmp_path, {"tables/c.csv": "newer"}) == []
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["c.csv"]
