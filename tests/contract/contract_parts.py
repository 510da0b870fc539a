"""Which checks of the contract take long."""

LONG = ("resume", "symmetry", "memory", "ranks", "foreach", "order", "float32", "schedule")
"""Checks of many runs; the others, but for that of compiled steps, take a second or two together."""
