"""Made the `.wandb` files of this folder, each with another version of the package:

    for v in 0.16 0.17 0.19 0.22 0.25 0.28 0.31; do
        pip install --target /tmp/wandb-$v "wandb==$v.*" "numpy<2"
        PYTHONPATH=/tmp/wandb-$v python3 tests/wandb/files/make.py tests/wandb/files/$v.wandb
    done

With a python3 that has no pandas of its own. It logs the run of told.json, and needs nothing else of this repository.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

TOLD = json.loads((Path(__file__).parent / "told.json").read_text())


def main(target: str) -> None:
    folder = tempfile.mkdtemp()
    os.environ.update(
        WANDB_MODE="offline", WANDB_DIR=folder, WANDB_SILENT="true", WANDB_CONSOLE="off",
        WANDB_DISABLE_GIT="true", WANDB_DISABLE_CODE="true", WANDB_ERROR_REPORTING="false",
        WANDB__DISABLE_STATS="true", WANDB_X_DISABLE_STATS="true", WANDB__DISABLE_META="true",
        WANDB_X_DISABLE_META="true", WANDB_X_SAVE_REQUIREMENTS="false", HOME=folder,
    )  # fmt: skip
    import wandb

    names = {key: TOLD[key] for key in ("id", "name", "group", "tags", "project", "entity", "job_type")}
    run = wandb.init(**names, config=TOLD["config"])
    run.config.update({"recipe": {"drops": [240, 340]}}, allow_val_change=True)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    for row in TOLD["rows"]:
        run.log({**row, "val": {"epoch": 7, "loss": {"mean": row["epoch"] / 3}}})
    run.summary.update(TOLD["summary"])
    run.finish()
    (made,) = Path(folder).glob("wandb/offline-run-*/*.wandb")
    shutil.copy(made, target)
    print(wandb.__version__, Path(target).stat().st_size)


main(sys.argv[1])
