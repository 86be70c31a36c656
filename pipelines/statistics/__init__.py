"""Resampling, tests and intervals of means."""
