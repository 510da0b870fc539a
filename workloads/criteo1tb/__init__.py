"""Criteo 1TB: click-through-rate prediction."""
