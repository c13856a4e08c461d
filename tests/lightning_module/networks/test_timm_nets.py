"""The example of an import path: the models of timm, where it is installed."""

from __future__ import annotations

import pytest
from small import ROOT

timm = pytest.importorskip("timm", reason="needs timm: pip install timm")

from ablations.sweep.compose import compose, make_cell  # noqa: E402
from lightning_module.support.errors import ConfigError  # noqa: E402


def test_a_model_of_timm_is_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    cell = make_cell(compose(["model.family=timm_nets", "data=cifar10"]), ())
    network = timm.create_model("resnet18", num_classes=10)
    assert cell.name == "timm resnet18 seed 0"
    assert cell.parameters == sum(value.numel() for value in network.parameters())
    assert cell.canonical["model.version"] == timm.__version__
    with pytest.raises(
        ConfigError, match="model.architecture=resnet81 is no model of timm; near are .*resnet18"
    ):
        make_cell(compose(["model.family=timm_nets", "model.architecture=resnet81"]), ())
