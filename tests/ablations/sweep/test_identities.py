"""The cells of the studies keep their names: records on disks and runs on W&B have them."""

from __future__ import annotations

import hashlib

import pytest

from ablations.sweep import studies
from ablations.sweep.check_study import overrides_of
from ablations.sweep.compose import compose
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import identity
from lightning_module.support.errors import ConfigError

IDENTITIES = {
    "activation_placement": (60, "9d61e3ec7ec6"),
    "after_resnet": (118, "bac25b25c405"),
    "block_types": (44, "1523885b8af7"),
    "degradation": (50, "8078051392f7"),
    "depth": (28, "6cd521640dba"),
    "depth_imagenet": (24, "796a7516f5df"),
    "downsampling": (96, "20852e2a31cb"),
    "implementations": (150, "d2620b10c682"),
    "last_bn_gamma": (36, "3deba6b78d03"),
    "layer_responses": (15, "859636840774"),
    "preactivation_depth": (55, "ba243c00a2d1"),
    "preactivation_imagenet": (21, "c339191d65ee"),
    "scaling": (45, "1cdfb6dcd290"),
    "shortcut_options": (54, "ebde8e462739"),
    "shortcut_options_imagenet": (12, "6f890dc66b79"),
    "shortcut_types": (82, "4277c5ef3267"),
    "warm_up": (54, "1fb8f85d586f"),
}
"""Study -> the number of its cells, and a digest of their sorted identities.

A number here changes when a study gains or loses cells, and never because a default did: a key that is added later
declares its neutral value in cell/identity.py.
"""


def identities(study: str) -> list[str]:
    found = set()
    for levels in studies.load(study).cells.cells:
        config = compose([*overrides_of(studies.load(study), levels).values()])
        try:
            parse_config(config)
        except ConfigError:
            continue  # an impossible combination
        found.add(identity(config))
    return sorted(found)


@pytest.mark.parametrize("study", IDENTITIES)
def test_the_cells_of_a_study_have_the_identities_that_they_had(study: str) -> None:
    names = identities(study)
    assert (len(names), hashlib.sha256(" ".join(names).encode()).hexdigest()[:12]) == IDENTITIES[study]


def test_every_study_is_held() -> None:
    assert set(IDENTITIES) == set(studies.names())
