"""From raw rows to a dataset directory."""
