import torch

BATCH = 50


def make_batch(size):
    ids = torch.randint(0, 83, (size, 51))
    rows = torch.arange(size)
    return {"inputs": ids[:, :-1], "targets": ids[:, 1:], "rows": rows, "blocks": torch.zeros_like(rows)}
