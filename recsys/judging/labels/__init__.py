"""The task labels: predictions of given rows."""
