"""Pages about classifiers and their pictures."""
