"""ALS: matrix factorisation of implicit feedback by alternating least squares."""
