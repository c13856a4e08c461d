"""What SLURM takes as it is may be typed as it is."""

from __future__ import annotations

import pytest

from ablations.sweep.launcher_words import quoted
from ablations.sweep.overrides import plain_value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("partition=a,b", "a,b"),
        ("exclude=node[3-4]", "node[3-4]"),
        ("constraint=[rack1|rack2]&a100", "[rack1|rack2]&a100"),
        ("time=1:30:00", "1:30:00"),
        ("exclude=null", None),
        ("mem=0", "0"),
        ("account=12_3", "12_3"),
        ("qos=1e3", "1e3"),
        ('partition="a,b"', "a,b"),
        ("setup=[module load cuda]", ["module load cuda"]),
        ("cells=[]", []),
    ],
)
def test_the_value_is_the_text_that_was_typed(word: str, value: object) -> None:
    assert plain_value(quoted(f"hydra.launcher.{word}")) == value


@pytest.mark.parametrize(
    "word", ["model.depth=20,56", "hydra.launcher.partition", "-m", 'hydra.launcher.time="1']
)
def test_other_words_stay_as_they_are(word: str) -> None:
    assert quoted(word) == word
