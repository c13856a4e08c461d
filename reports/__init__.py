"""What came out: records joined with the cells that were asked for, as tables, figures and verdicts.

`import reports` in a notebook: see `reports.notebook`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.notebook import figures, frame, history, verdicts

__all__ = ["figures", "frame", "history", "verdicts"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: `python -m reports` hears Ctrl-C before what takes long."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from reports import notebook

    return getattr(notebook, name)
