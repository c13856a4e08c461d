"""Where Hydra looks for plugins: it finds ours by listing this file, and accepts no other place."""

from ablations.sweeper import StudySweeper
from slurm.launcher import SlurmLauncher
from slurm.local import LocalLauncher

__all__ = ["LocalLauncher", "SlurmLauncher", "StudySweeper"]
