"""Batches, networks, losses, scoring and graphs of the models in torch."""
