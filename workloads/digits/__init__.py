"""Handwritten digits, 8 x 8: the smallest workload, with its data in the package."""
