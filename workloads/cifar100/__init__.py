"""CIFAR-100: photographs in 100 classes."""
