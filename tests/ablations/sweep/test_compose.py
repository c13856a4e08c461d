"""What is read of conf/ is what Hydra composes."""

from __future__ import annotations

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from ablations.sweep import compose, keys

GROUPS = (*keys.default_choices(), "ablation")


def by_hydra(choices: list[str]) -> dict:
    GlobalHydra.instance().clear()
    compose.register_studies()
    with initialize_config_dir(str(compose.CONF), version_base="1.3"):
        return OmegaConf.to_container(hydra_compose("config", choices))  # type: ignore[return-value]


@pytest.mark.parametrize("number", range(max(len(keys.groups()[group]) for group in GROUPS)))
def test_every_choice_of_a_group_is_read_as_hydra_composes_it(number):
    choices = [f"{group}={keys.groups()[group][number % len(keys.groups()[group])]}" for group in GROUPS]
    found = compose._read(choices)
    assert found == by_hydra(choices)
    assert list(found) == list(by_hydra(choices)), "errors list them in this order"


@pytest.mark.parametrize(
    "text",
    [
        "# @package _global_\nseed: 1\n",
        "defaults:\n  - _self_\n  - cpu\n",
        "defaults:\n  - cpu@x\n  - _self_\n",
        "defaults:\n  - optional cpu\n  - _self_\n",
        "defaults:\n  - /model: resnet_cifar\n  - _self_\n",
        "defaults:\n  - missing\n  - _self_\n",
        "a: {b: 1}\n",
    ],
)
def test_a_file_that_says_more_is_left_to_hydra(text, tmp_path, monkeypatch):
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "cpu.yaml").write_text("accelerator: cpu\n")
    (tmp_path / "trainer" / "odd.yaml").write_text(text)
    monkeypatch.setattr(keys, "CONF", tmp_path)
    keys.is_plain.cache_clear()
    assert keys.is_plain("trainer/cpu")
    assert not keys.is_plain("trainer/odd")
    keys.is_plain.cache_clear()
