"""Batches and scoring for each framework; this package itself imports none."""
