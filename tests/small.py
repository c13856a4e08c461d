"""Where the repository is, and a cell that trains in about a second."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("model.depth=8", "recipe.steps=30", "recipe.drops=[20]", "logger=none", "trainer.progress=false")
