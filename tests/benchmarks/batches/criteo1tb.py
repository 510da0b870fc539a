import torch

from algoperf_lightning.workloads.criteo1tb.parsing import BUCKETS

BATCH = 4096


def make_batch(size):
    return {
        "inputs": torch.rand(size, 13) * 3,
        "ids": (torch.rand(size, 26) * torch.tensor(BUCKETS)).int(),
        "targets": torch.randint(0, 2, (size,)).float(),
    }
