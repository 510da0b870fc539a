"""A noisy quadratic in 100 dimensions: runs take seconds and need no data."""
