"""Popularity: the same list for everybody."""
