"""The tutorial, followed in an empty folder; its part on SLURM is in tests/slurm."""

from __future__ import annotations

from pathlib import Path

import pytest
import tutorial

from reports.notebook import frame, verdicts


def test_a_network_of_ones_own_comes_to_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    tutorial.write_files(lab)
    said = tutorial.follow("Here", lab)
    assert "18 cells, " in said and "18 of 18 cells finished" in said
    found = verdicts("my_study", runs=lab / "runs")
    assert found["verdict"].tolist() == ["supported", "supported"]
    assert frame("my_study", runs=lab / "runs")["model.shared"].dtype == bool
    page = (lab / "results" / "my_study" / "report.md").read_text(encoding="utf-8")
    assert all(claim in page for claim in found["claim"])
    (lab / "my_study.py").unlink()
    assert verdicts("my_study", runs=lab / "runs").empty
    assert capsys.readouterr().out.startswith("Study my_study is not in ")
