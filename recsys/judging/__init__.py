"""Values, intervals, slices and comparison of what was recommended or predicted."""
