"""BPR: matrix factorisation by pairwise ranking."""
