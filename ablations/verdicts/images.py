"""Which images of a test a run got right, as it recorded it at its last step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_module.cell.record import last_event
from lightning_module.cell.record_values import RIGHT, packed_bits, wrong


def right_images(events: Sequence[Mapping[str, Any]], metric: str) -> NDArray[np.bool_] | None:
    """[images], in the order of the test set: whether each was right; their share is 1 - error / 100.

    metric: the error that this explains, "test/error" or "test_ten_crop/top5_error". None if the run did not record
    it, or if what is on W&B under that name is something else.
    """
    test, _, key = metric.partition("/")
    event = last_event(events, "right_images", test=test)
    if key not in RIGHT or key not in event or wrong(dict(event), first=False):
        return None
    bits = np.frombuffer(packed_bits(event[key], event["images"]) or b"", np.uint8)
    return np.unpackbits(bits, count=event["images"]).astype(np.bool_)
