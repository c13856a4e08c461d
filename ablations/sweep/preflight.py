"""Checks of a sweep before any of it runs, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lightning_module.support.errors import ConfigError, log

if TYPE_CHECKING:
    from lightning_module.cell.identity import Cell
    from lightning_module.cell.record import Record


def check_records(records: Iterable[Record]) -> None:
    """ConfigError if a newer version of this program wrote one of them: whoever goes on would mix the two."""
    for record in records:
        if record.newer:
            raise ConfigError(record.damage)


def check_data(cells: Sequence[Cell]) -> None:
    """Read the data sets of these cells, or download them, and log what is odd.

    ConfigError says what is missing, or too few for a batch.
    """
    if not cells:
        return  # before PyTorch is imported
    from lightning_module.cell.config import check_batch, parse_config
    from lightning_module.data.images import load

    configs = [parse_config(cell.config) for cell in cells]
    for remark in dict.fromkeys(load(config.data).remark for config in configs):
        if remark:
            log.warning("%s", remark)
    for data, batch in dict.fromkeys((config.data, config.recipe.batch_size) for config in configs):
        check_batch(batch, load(data).train_images, data.name)
