"""From what was asked to its cells, and running them on this machine."""
