"""Settings of a launcher (``fabric run``, ``torchrun``) as arguments of a Trainer.

Lightning's Trainer does not read the number of processes from its environment: with ``devices=1`` under a launcher of
two processes, there are two unrelated runs.
"""

from __future__ import annotations

import os
from typing import Any


def trainer_options() -> dict[str, Any]:
    """Return ``devices``, ``num_nodes``, ``strategy``, ``accelerator`` and ``precision`` as set by the launcher.

    Empty without a launcher, so ``L.Trainer(**trainer_options(), callbacks=[...])`` works in both cases.
    """
    if "LOCAL_WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return {}
    devices = int(os.environ["LOCAL_WORLD_SIZE"])
    options: dict[str, Any] = {
        "devices": devices,
        "num_nodes": max(1, int(os.environ["WORLD_SIZE"]) // devices),
        "strategy": "ddp" if int(os.environ["WORLD_SIZE"]) > 1 else "auto",
    }
    for name in ("accelerator", "strategy", "precision"):
        if value := os.environ.get(f"LT_{name.upper()}"):
            options[name] = value
    return options
