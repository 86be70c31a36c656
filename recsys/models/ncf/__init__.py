"""NCF: neural collaborative filtering (GMF, MLP and NeuMF)."""
