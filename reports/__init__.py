"""What came out: records joined with the cells that were asked for, as tables, figures and verdicts."""
