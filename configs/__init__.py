"""Configurations as package data: ``algoperf fit --config digits`` finds ``digits.yaml`` here."""
