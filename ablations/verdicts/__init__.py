"""What the runs say about the claims of a study. Numbers alone: no files, no tables, neither torch nor pandas."""
