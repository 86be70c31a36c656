"""The page on compared runs."""
