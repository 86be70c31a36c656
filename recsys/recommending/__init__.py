"""Scores to lists: in blocks, fused, resumable."""
