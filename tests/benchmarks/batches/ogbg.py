import torch

BATCH = 32
NODES = 26
BONDS = 28


def make_batch(size):
    """Batches of equal graphs, 26 nodes and 56 edges each, and one node of padding."""
    first = NODES * torch.arange(size).repeat_interleave(BONDS)
    ends = torch.randint(0, NODES, (2, size * BONDS)) + first
    return {
        "nodes": torch.randint(0, 12, (size * NODES + 1, 9)).float(),
        "edges": torch.randint(0, 4, (2 * size * BONDS, 3)).float(),
        "senders": torch.cat([ends[0], ends[1]]),
        "receivers": torch.cat([ends[1], ends[0]]),
        "node_graphs": torch.cat([torch.arange(size).repeat_interleave(NODES), torch.tensor([size])]),
        "targets": (torch.rand(size, 128) < 0.02).float(),
        "weights": (torch.rand(size, 128) < 0.6).float(),
    }
