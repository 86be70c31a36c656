"""What every wing does with models: find them by name, read recipes, keep what was trained."""
