"""A report's folder: files are replaced whole."""

from __future__ import annotations

from pathlib import Path

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
