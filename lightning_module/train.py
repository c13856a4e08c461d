"""Training one cell, in this process or in several: the room's door.

It never raises for what happens to the cell, the record says it. Lightning, whose import takes seconds, is imported
where a cell is trained: not here when others train it.
"""

from __future__ import annotations

from lightning_module.cell import record
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import Cell
from lightning_module.data.images import load
from lightning_module.processes import run_in_processes
from lightning_module.support.disk import Lock
from lightning_module.training.interruption import Interruption
from lightning_module.training.torch_setup import cpu_threads


def run(cell: Cell, interruption: Interruption) -> record.Record:
    """Train a cell, in one process or several, and return its record.

    Raises Busy when another process runs it, record.RecordError for a record that must not be touched
    and ConfigError when its run folder or its data cannot be had.
    """
    config, folder = parse_config(cell.config), cell.run_folder
    if config.trainer.processes == 1:
        from lightning_module.fit import fit

        fit(cell, interruption)
    else:
        # Errors of the data and of the record are worth a sentence here: from rank 0 they are torchrun's traceback.
        load(config.data)
        with Lock(folder, record.START_LOCK):
            with Lock(folder):
                if (known := record.read(folder)).state in record.FINAL:
                    return known
                record.Writer(folder, cell).close()
            threads = cpu_threads(config, cell.multiply_adds)
            run_in_processes(cell, folder, config.trainer.devices, threads, interruption)
    return record.read(folder)
