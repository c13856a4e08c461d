"""Images in memory: where they come from and how training sees them."""
