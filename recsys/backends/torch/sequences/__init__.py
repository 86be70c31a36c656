"""Models of the order of a user's items: batches, Transformer, scorer, training."""
