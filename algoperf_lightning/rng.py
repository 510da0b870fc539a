"""Reproducible and resumable randomness: seeds for named purposes, and states of generators.

Torch is imported only where it is used: plans and scores only check seeds, and do not need it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

SEEDS = 2**32
"""Upper limit of seeds: the limit of NumPy's legacy generator, whose streams never change."""


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in [0, 2**63) for one purpose of a trial, the same in every process and on every machine.

    Example:
        >>> derive_seed(0, "model") != derive_seed(0, "training", 1)
        True
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def frozen_generator(seed: int, *purpose: str | int) -> np.random.RandomState:
    """Return a generator for one purpose of a trial whose numbers are the same in every version of NumPy.

    It is NumPy's legacy generator, because its numbers never change.

    Example:
        >>> frozen_generator(0, "eval_train").permutation(5).tolist()
        [2, 3, 4, 0, 1]
    """
    return np.random.RandomState(derive_seed(seed, *purpose) % 2**32)


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices)."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def get_rng_state() -> dict[str, Any]:
    """Return the states of the global generators as plain types and tensors."""
    import torch

    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.array(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore states that :func:`get_rng_state` has returned."""
    import torch

    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@cache
def _gpu_found() -> bool:
    """Return whether torch can use a GPU; cached, because torch opens the driver's library at each call (1 ms)."""
    import torch

    return torch.cuda.is_available()


@contextmanager
def forked_rng(seed: int) -> Iterator[None]:
    """Seed torch within the block, and restore its generators afterwards."""
    import torch

    devices = [torch.cuda.current_device()] if _gpu_found() else []
    with torch.random.fork_rng(devices):
        # Like torch.manual_seed, which formats a traceback for each type of device that does not exist.
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield
