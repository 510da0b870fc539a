"""The contract of optimizers: the checks of ``algoperf check``."""
