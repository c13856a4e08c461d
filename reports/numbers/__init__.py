"""Declared cells joined with the runs that exist, and what their numbers say."""
