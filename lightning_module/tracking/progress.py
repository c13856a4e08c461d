"""What one sees while a cell trains: one line that moves on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

QUIET_SECONDS = 10.0
"""Without a terminal at most one line in this time, so that a log of a fast run stays readable."""


class Progress:
    """Progress of one cell: name, epoch, errors, throughput, time left."""

    def __init__(self, name: str, step: int, steps: int, batch_size: int, shown: bool) -> None:
        self.name, self.steps, self.batch_size, self.shown = name, steps, batch_size, shown
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=steps,
            initial=step,
            desc=name,
            unit="step",
            disable=not (shown and self.terminal),
            dynamic_ncols=True,
            leave=False,
            # The time left comes first, since a narrow terminal cuts the end; tqdm puts ", " before {postfix}.
            bar_format="{desc}: {remaining} left |{bar}| {n_fmt}/{total_fmt}{postfix}",
        )
        self.first, self.started, self.said = step, time.monotonic(), time.monotonic()
        self.text = ""

    def at(self, step: int) -> None:
        """Move the bar to an optimizer step."""
        self.bar.update(step - self.bar.n)
        if not self.bar.disable:
            self.bar.set_postfix_str(f"{self.text}{self._rate(step):,.0f} images/s", refresh=False)

    def epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """Show the errors of an epoch: in the bar, or without a terminal as a line."""
        self.text = f"test error {metrics['test/error']:.2f} %, "
        if (
            self.shown
            and not self.terminal
            and (step == self.steps or time.monotonic() - self.said > QUIET_SECONDS)
        ):
            self.said = time.monotonic()
            left = (self.said - self.started) / max(1, step - self.first) * (self.steps - step)
            print(
                f"{self.name}: epoch {epoch}, step {step}/{self.steps}, train error {metrics['train/error']:.2f} %, "
                f"test error {metrics['test/error']:.2f} %, {self._rate(step):,.0f} images/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def _rate(self, step: int) -> float:
        return (step - self.first) * self.batch_size / max(1e-9, time.monotonic() - self.started)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        self.bar.close()
