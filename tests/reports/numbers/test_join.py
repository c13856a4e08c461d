"""Places of the tables: their cells, texts and means, and none where no cell was asked for."""

from __future__ import annotations

import base64
import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from reports_of_synthetic_cells import collected

from reports.sections.answer import answer

VALUES: dict[tuple[int, str, int], float | str | None] = {
    (56, "A", 0): 7.0,
    (56, "A", 1): 8.0,
    (56, "A", 2): "diverged",
    (56, "A", 3): None,
    (20, "B", 0): 7.5,
    (20, "A", 0): "failed",
}


def test_a_place_says_what_it_is_and_holds_every_cell_that_was_asked_for() -> None:
    c = collected(VALUES)
    assert [place.text for place in c.places] == [
        "depth 20, option A", "depth 20, option B", "depth 56, option A"
    ]  # fmt: skip
    place = c.place((56,), ("A",))
    assert place is c.places[-1]
    assert place.labels == ("56", "option A")
    assert place.cells["state"].tolist() == ["finished", "finished", "diverged", "planned"]
    assert place.finished["seed"].tolist() == [0, 1]
    assert c.place((56,), ("B",)) is None


def test_a_mean_counts_what_diverged_and_what_was_asked_for() -> None:
    c = collected(VALUES)
    mean = c.places[-1].mean("test/error")
    assert (mean.n, mean.mean, mean.diverged, mean.planned) == (2, 7.5, 1, 4)
    failed = c.places[0].mean("test/error")
    assert (failed.n, failed.diverged, failed.planned) == (0, 0, 1)


def test_of_equal_means_the_first_that_was_asked_for_is_named() -> None:
    c = collected({place: value for place, value in VALUES.items() if value != "diverged"})
    assert c.places[1].mean("test/error").mean == c.places[2].mean("test/error").mean
    assert "is 7.50 ± 0.71† % (depth 56, option A, n = 2; 1 more reaches it)" in str(answer(c))


def test_a_place_where_runs_diverged_is_not_the_best() -> None:
    """Its mean leaves out the runs that did not work."""
    c = collected(VALUES | {(56, "A", 0): 1.0, (56, "A", 1): 1.0})
    text = str(answer(c))
    assert "The lowest test error where no run diverged is 7.50 % (depth 20, option B, n = 1)." in text


@pytest.mark.parametrize(
    ("state", "status"),
    [("diverged", "1 of 2 cells finished, 1 diverged"), (None, "1 of 2 cells finished, 1 planned")],
)
def test_the_status_names_what_has_not_finished(state: str | None, status: str) -> None:
    c = collected({(20, "A", 0): 7.0, (20, "A", 1): state})
    assert (c.status, c.is_open) == (status, state is None)


def test_seeds_with_the_same_error_have_the_spread_of_their_images() -> None:
    """Three seeds miss two of 100 images each, other ones each time: the mean has an interval."""
    c = collected({(20, "A", seed): 2.0 for seed in range(3)})
    assert c.places[0].mean("test/error").sd == 0
    bits = [np.ones(100, bool) for _ in range(3)]
    for seed, right in enumerate(bits):
        right[2 * seed : 2 * seed + 2] = False
    events = {
        identity: [
            {"event": "right_images", "step": 9, "test": "test", "images": 100, "error": packed(right)}
        ]
        for identity, right in zip(c.cells["identity"], bits, strict=True)
    }
    mean = dataclasses.replace(c, events=events).places[0].mean("test/error")
    assert mean.sd == pytest.approx(1.42, abs=0.01)
    assert mean.low < 2 < mean.high


def packed(right: NDArray[np.bool_]) -> str:
    return base64.b64encode(np.packbits(right).tobytes()).decode()
