"""Checks of a sweep before any of it runs, wherever it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lightning_module.support.errors import ConfigError

if TYPE_CHECKING:
    from lightning_module.cell.identity import Cell
    from lightning_module.cell.record import Record

log = logging.getLogger(__name__)


def check_records(records: Iterable[Record]) -> None:
    """ConfigError if a newer version of this program wrote one of them: whoever goes on would mix the two."""
    for record in records:
        if record.newer:
            raise ConfigError(record.damage)


def check_data(cells: Sequence[Cell]) -> None:
    """Read the data sets of these cells, or download them, and log what is odd; ConfigError says what is missing."""
    from lightning_module.cell.config import parse_config
    from lightning_module.data.images import load

    configs = dict.fromkeys(parse_config(cell.config).data for cell in cells)
    for remark in dict.fromkeys(load(data).remark for data in configs):
        if remark:
            log.warning(remark)
