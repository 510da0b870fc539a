import torch

BATCH = 4


def make_batch(size):
    pixels = torch.randint(0, 256, (size, 224, 224, 3), dtype=torch.uint8)
    return {"inputs": pixels.permute(0, 3, 1, 2), "targets": torch.randint(0, 1_000, (size,))}
