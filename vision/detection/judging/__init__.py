"""How good detections are: average precision, error types, intervals."""
