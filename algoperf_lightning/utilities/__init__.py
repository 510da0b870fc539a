"""What has nothing to do with training: locks, terminals, YAML, signatures, entry points."""
