"""From the model of a report to its files."""
