"""The reports of docs/results and docs/examples are those that this program makes of the records beside them."""

from __future__ import annotations

import pytest
from small import ROOT

from reports.__main__ import main


@pytest.mark.parametrize(("folder", "which"), [("results", "degradation"), ("examples", "--all")])
def test_they_are_up_to_date(monkeypatch: pytest.MonkeyPatch, folder: str, which: str) -> None:
    monkeypatch.chdir(ROOT / "docs" / folder)
    assert main([which, "--check", "--out", "."]) == 0, (
        f"after a change of the reports, in docs/{folder}: python -m reports {which} --out ."
    )
