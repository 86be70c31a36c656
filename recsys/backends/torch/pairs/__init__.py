"""Models of a user and an item (and their features): inputs, networks, scorers, training."""
