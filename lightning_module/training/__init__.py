"""The training of a cell: the step, the recipe, the checkpoints, the end."""
