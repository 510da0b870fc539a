"""MNIST: a small workload for development."""
