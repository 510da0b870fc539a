import torch

BATCH = 64


def make_batch(size):
    return {"inputs": torch.rand(size, 1, 28, 28), "noise": torch.randn(size, 8)}
