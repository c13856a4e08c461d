"""The reports of docs/results are those that this program makes of the records beside them."""

from __future__ import annotations

import pytest
from small import ROOT

from reports.__main__ import main


def test_the_first_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "docs" / "results")
    assert main(["degradation", "--check", "--out", "."]) == 0, (
        "after a change of the reports, in docs/results: python -m reports degradation --out ."
    )
