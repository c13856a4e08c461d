"""What every room stands on: errors, checks of values, files that are written whole."""
