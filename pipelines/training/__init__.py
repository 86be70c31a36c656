"""The training loop that every torch model shares; this package itself imports no framework."""
