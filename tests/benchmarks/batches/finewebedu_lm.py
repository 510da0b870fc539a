import torch

BATCH = 1


def make_batch(size):
    ids = torch.randint(0, 50_257, (size, 1_025))
    return {"inputs": ids[:, :-1].int(), "targets": ids[:, 1:]}
