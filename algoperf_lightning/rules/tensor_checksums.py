"""Checksums of a model's parameters and buffers, computed on their device, which detect changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTH = 1024
_PRIME = 0x9E3779B1


def checksums(model: nn.Module) -> dict[str, int]:
    """Return a checksum of each parameter and buffer by name, which depends on all bits and their positions.

    The device is synchronised once, and contiguous tensors are not copied.
    """
    # Not its state_dict, which hooks may change, and which does not contain all buffers.
    tensors = {
        name: tensor
        for named in (model.named_parameters, model.named_buffers)
        for name, tensor in named(remove_duplicate=False)
    }
    with torch.no_grad():
        sums = [_checksum(tensor) for tensor in tensors.values()]
        if not sums:
            return {}
        device = sums[0].device
        values = torch.stack([each.to(device) for each in sums]).tolist()
    return dict(zip(tensors, values, strict=True))


def _checksum(tensor: Tensor) -> Tensor:
    """Return the checksum of one tensor, an int64 of shape ``()``; sums wrap around."""
    local = getattr(tensor, "to_local", None)  # this rank's part of a distributed tensor
    flat = (local() if callable(local) else tensor).detach().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    if flat.storage_offset() * flat.element_size() % 8:
        flat = flat.clone()  # 64-bit numbers must be aligned
    eights = flat.numel() * flat.element_size() // 8 * 8
    bits = flat.view(torch.uint8)[:eights].view(torch.int64)
    whole = len(bits) // _WIDTH * _WIDTH
    rows = bits[:whole].view(-1, _WIDTH)
    rest = flat.view(torch.uint8)[eights:].to(torch.int64)
    # A change of a number affects its row and column sums, a change of positions at least one of them.
    return _weighted(rows.sum(0)) + _weighted(rows.sum(1)) * 3 + _weighted(bits[whole:]) * 5 + _weighted(rest) * 7


def _weighted(numbers: Tensor) -> Tensor:
    places = torch.arange(1, len(numbers) + 1, dtype=torch.int64, device=numbers.device)
    return (numbers * (places * _PRIME)).sum()
