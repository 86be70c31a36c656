"""What the commands call: train, recommend, predict, evaluate, compare."""
