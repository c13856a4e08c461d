"""Where cells run when one machine is not enough: a SLURM cluster. Without this folder a laptop works as before."""
