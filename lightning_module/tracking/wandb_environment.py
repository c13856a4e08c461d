"""Variables of the environment that would break what a run is, and the environment that wandb gets."""

from __future__ import annotations

import os
from collections.abc import Mapping

IDENTITY = "the id of a run is the identity of its cell"
TAG = 64
"""Characters of a tag, the most that W&B takes."""
CONFIGURATION = "the configuration of a run is that of its cell"
OVERRIDDEN: Mapping[str, str] = {
    "WANDB_RUN_ID": IDENTITY,
    "WANDB_RESUME": IDENTITY + ", and it goes on wherever it was",
    "WANDB_RESUME_FROM": IDENTITY,
    "WANDB_FORK_FROM": IDENTITY,
    "WANDB_NAME": "the name of a run says which cell it is",
    "WANDB_JOB_TYPE": "by its job type a run is found again",
    "WANDB_SWEEP_ID": "the cells of a sweep are chosen on the command line",
    "WANDB_SWEEP_PARAM_PATH": CONFIGURATION,
    "WANDB_CONFIG_PATHS": CONFIGURATION,
    "WANDB_DIR": "the files of a run are in its folder",
}
"""Variables that would break what a run is -> why they have no effect."""
UNSEEN = (
    *("WANDB_SERVICE", "WANDB_MODE", "WANDB_DISABLED", "WANDB_TAGS", "WANDB_RUN_GROUP"),
    *("WANDB_BASE_URL", "WANDB_API_KEY"),
)
"""Variables that wandb itself must not see: another process's, or those that were looked at already."""


def environment(address: str = "", key: str = "") -> dict[str, str]:
    """The environment for wandb: without what is overridden or empty (of which it makes errors), and its telemetry.

    address and key: of the server; "" offline, where none is needed and a wrong one would do harm.
    """
    hidden = {*OVERRIDDEN, *UNSEEN}
    hidden |= {key for key, value in os.environ.items() if key.startswith("WANDB_") and not value}
    ours = {key: value for key, value in os.environ.items() if key not in hidden}
    server = {"WANDB_BASE_URL": address, "WANDB_API_KEY": key} if address else {}
    # It telephones home even offline otherwise, and waits for an answer at the end.
    return {"WANDB_ERROR_REPORTING": "false", **ours, **server}
