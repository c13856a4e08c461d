"""Where epochs and calls begin and end, in steps: pure numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Of `steps` batches of `batch` images, from an endless stream with `images` of them in each epoch."""

    steps: int
    batch: int
    images: int

    def epochs(self, step: int) -> int:
        """Epochs completed after so many steps; the last step completes one too, which may be a part of one."""
        before, after = (number * self.batch // self.images for number in (step - 1, step))
        return max(after, before + 1) if step == self.steps else after

    def ends_epoch(self, step: int) -> bool:
        """Whether the step before this one completed an epoch."""
        return self.epochs(step) > (step - 1) * self.batch // self.images

    def calls(self, start: int, marks: Sequence[int]) -> Iterator[tuple[int, int]]:
        """(first step, step after the last) of each call up to the end of the epoch and at multiples of the marks."""
        end = min(self.steps, -(-(start * self.batch // self.images + 1) * self.images // self.batch))
        while start < end:
            stop = min(end, *(start - start % mark + mark for mark in marks))
            yield start, stop
            start = stop

    def epoch_after_training(self) -> Iterator[tuple[int, int]]:
        """(step, images) of each batch of an epoch that training did not come to, and that begins with a batch.

        Of the images of its last batch only these, the first ones, are of this epoch.
        """
        period = self.images // math.gcd(self.images, self.batch)
        first = -(-self.steps // period) * period
        for number in range(-(-self.images // self.batch)):
            yield first + number, min(self.batch, self.images - number * self.batch)


@dataclass(frozen=True)
class Calls:
    """The training "data loader": which steps each call makes; the images are on the device already."""

    of_next_epoch: Callable[[], Iterator[tuple[int, int]]]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return self.of_next_epoch()
