"""How fast, against whom: scripts, each prints a table."""
