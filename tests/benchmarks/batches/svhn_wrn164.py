import torch

BATCH = 32


def make_batch(size):
    return {"inputs": torch.randn(size, 3, 32, 32), "targets": torch.randint(0, 10, (size,))}
