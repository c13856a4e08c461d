"""The schema of `reports.sources`, as an assertion."""

from __future__ import annotations

from reports.sources import HISTORY_COLUMNS, RUN_COLUMNS, Frames, is_config, is_metric

NUMBERS = (
    "attempts", "epoch", "step", "seconds", "images_per_second", "parameters", "multiply_adds", "devices",
)  # fmt: skip
"""The RUN_COLUMNS that are numbers (`dirty` is bool, the others text)."""


def checked(frames: Frames) -> Frames:
    """The frames themselves, if they keep to the schema; AssertionError that names the column if not."""
    runs, history = frames.runs, frames.history
    head = list(runs.columns[: len(RUN_COLUMNS)])
    assert head == list(RUN_COLUMNS), f"runs starts with {head}, not {list(RUN_COLUMNS)}"
    assert runs["identity"].is_unique, "runs has an identity twice"
    assert runs["identity"].is_monotonic_increasing, "runs is not sorted by identity"
    for column in NUMBERS:
        assert runs[column].dtype.kind in "if", f"runs[{column!r}] is {runs[column].dtype}, not a number"
    for column in runs.columns[len(RUN_COLUMNS) :]:
        if is_config(column):
            assert runs[column].dtype == object, f"runs[{column!r}] is {runs[column].dtype}, not object"
            assert not any(isinstance(v, list | dict) for v in runs[column]), f"runs[{column!r}] holds a list"
        else:
            assert is_metric(column), f"runs[{column!r}] is neither configuration nor metric"
            assert runs[column].dtype == float, f"runs[{column!r}] is {runs[column].dtype}, not float64"
    assert tuple(history.columns[:3]) == HISTORY_COLUMNS, f"history starts with {list(history.columns[:3])}"
    assert not history.duplicated(["identity", "epoch"]).any(), "history has an epoch twice"
    assert set(history["identity"].unique()) <= set(runs["identity"]), "history has a run that runs has not"
    for column in history.columns[1:]:
        assert history[column].dtype.kind in "if", (
            f"history[{column!r}] is {history[column].dtype}, not a number"
        )
    return frames
