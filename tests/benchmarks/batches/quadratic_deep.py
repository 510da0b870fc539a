import torch

BATCH = 128


def make_batch(size):
    return {"inputs": 0.6 * torch.randn(size, 100)}
