"""Images, in memory or in folders: where they come from and how training sees them."""
