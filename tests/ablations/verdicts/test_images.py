"""Which images were right, as the event of a run says it, and what is no such event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ablations.verdicts.images import right_images

EVENT = {
    "event": "right_images",
    "step": 30,
    "test": "test",
    "images": 9,
    "error": "oYA=",
    "top5_error": "//8=",
}
"""Bits 1010 0001 1, and, of the top 5, ones beyond the last image."""


def test_bit_i_is_image_i_of_the_newest_event_of_that_test() -> None:
    older, ten_crop = (
        EVENT | {"error": "AAA="},
        EVENT | {"test": "test_ten_crop", "images": 8, "error": "/w=="},
    )
    del ten_crop["top5_error"]
    events: list[dict[str, Any]] = [older, EVENT | {"top5_error": "AAA="}, ten_crop, {"event": "warm_up"}]
    found = right_images(events, "test/error")
    assert found is not None
    assert found.dtype == np.bool_
    assert found.tolist() == [True, False, True, False, False, False, False, True, True]
    assert right_images(events, "test/top5_error").tolist() == [False] * 9  # type: ignore[union-attr]
    assert right_images(events, "test_ten_crop/error").tolist() == [True] * 8  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "metric", ["validation/error", "test_ten_crop/top5_error", "test/loss", "test/images", "seconds"]
)
def test_what_a_run_did_not_record_is_none(metric: str) -> None:
    assert right_images([], metric) is None
    assert right_images([EVENT | {"top5_error": "AAA="}], metric) is None


@pytest.mark.parametrize(
    "change",
    [
        {"top5_error": "//8="}, {"error": "AA=="}, {"error": "AAAA"}, {"error": "A"}, {"error": "%AA="}, {"error": "é"},
        {"error": None}, {"error": ["oYA="]}, {"images": 0}, {"images": 9.0}, {"images": "9"}, {"images": None},
        {"images": 17}, {"step": "30"},
    ],
)  # fmt: skip
def test_what_somebody_made_of_it_on_wandb_is_none(change: dict[str, Any]) -> None:
    right = EVENT | {"top5_error": "AAA="}
    assert right_images([right], "test/error") is not None
    assert right_images([right | change], "test/error") is None
