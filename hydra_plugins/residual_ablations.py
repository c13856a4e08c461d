"""Where Hydra looks for plugins: it finds ours by listing this file, and accepts no other place."""

from ablations.sweep.hydra_side import LocalLauncher, StudySweeper

__all__ = ["LocalLauncher", "StudySweeper"]

try:
    from slurm.launcher import SlurmLauncher
except ModuleNotFoundError as error:
    if error.name != "slurm":
        raise
else:  # without the folder slurm/ there is no such launcher
    __all__ += ["SlurmLauncher"]
