"""Where it runs: this machine or a SLURM cluster."""
