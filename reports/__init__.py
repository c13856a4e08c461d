"""What came out: records joined with the cells that were asked for, as tables, figures and verdicts.

`import reports` in a notebook: see `reports.notebook`.
"""

from reports.notebook import figures, frame, history, verdicts

__all__ = ["figures", "frame", "history", "verdicts"]
