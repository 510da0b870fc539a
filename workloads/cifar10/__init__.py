"""CIFAR-10: a convolutional workload for development."""
