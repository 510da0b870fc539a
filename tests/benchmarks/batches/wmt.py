import torch

BATCH = 4
LENGTH = 32
VOCABULARY = 32_000


def make_batch(size):
    return {side: torch.randint(3, VOCABULARY, (size, LENGTH)) for side in ("inputs", "targets")}
