"""Recommenders: contracts, models, ranking, metrics, evaluation and report."""
