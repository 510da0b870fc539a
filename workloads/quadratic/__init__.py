"""A noisy quadratic in 100 dimensions: a workload in seconds, without data."""
