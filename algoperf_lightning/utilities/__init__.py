"""General utilities: locks, terminals, YAML, signatures, entry points."""
