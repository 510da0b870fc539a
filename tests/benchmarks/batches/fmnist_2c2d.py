import torch

BATCH = 128


def make_batch(size):
    return {"inputs": torch.rand(size, 1, 28, 28), "targets": torch.randint(0, 10, (size,))}
