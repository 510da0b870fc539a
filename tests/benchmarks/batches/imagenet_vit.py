import torch

BATCH = 4


def make_batch(size):
    """A training batch as mixup leaves it: pixels from 0 to 255 as float32, probabilities of the classes."""
    return {"inputs": 255 * torch.rand(size, 3, 224, 224), "targets": torch.rand(size, 1000).softmax(-1)}
