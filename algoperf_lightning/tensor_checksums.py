"""Checksums of a model's parameters and buffers, made where they are: to see whether something changed them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_WIDTH = 1024
_PRIME = 0x9E3779B1


def checksums(model: nn.Module) -> dict[str, int]:
    """Return a number for each parameter and buffer, by name, that changes with any of its bits or their places.

    One wait for the device in all, and no copy of a tensor that is contiguous.
    """
    tensors = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if isinstance(tensor, Tensor)}
    with torch.no_grad():
        sums = [_checksum(tensor) for tensor in tensors.values()]
        if not sums:
            return {}
        device = sums[0].device
        values = torch.stack([each.to(device) for each in sums]).tolist()
    return dict(zip(tensors, values, strict=True))


def _checksum(tensor: Tensor) -> Tensor:
    """Return the checksum of one tensor, an int64 of shape ``()``; sums wrap around."""
    local = getattr(tensor, "to_local", None)  # of a tensor that is spread over ranks, this rank's part
    flat = (local() if callable(local) else tensor).detach().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    if flat.dtype is torch.bool:
        flat = flat.view(torch.uint8)
    bits = flat.view(_BITS[flat.element_size()])
    whole = len(bits) // _WIDTH * _WIDTH
    rows = bits[:whole].view(-1, _WIDTH)
    # A change of one number shows in its row and in its column, a change of places in one of both.
    return (
        _weighted(rows.sum(0, dtype=torch.int64))
        + _weighted(rows.sum(1, dtype=torch.int64)) * 3
        + _weighted(bits[whole:].to(torch.int64)) * 5
    )


def _weighted(numbers: Tensor) -> Tensor:
    places = torch.arange(1, len(numbers) + 1, dtype=torch.int64, device=numbers.device)
    return (numbers * (places * _PRIME)).sum()
