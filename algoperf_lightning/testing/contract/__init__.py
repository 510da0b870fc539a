"""The optimizer contract: the checks of ``algoperf check``."""
