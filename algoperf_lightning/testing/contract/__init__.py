"""The contract that any optimizer can be held to: the checks behind ``algoperf check``."""
