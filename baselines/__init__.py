"""Training algorithms to compare against: one file each, built without arguments at their default point.

Classes are imported on first use, so that one baseline's missing library does not break the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adamw import AdamW
    from .momentum import Momentum, Nesterov
    from .nadamw import NadamW

_FILE = {"AdamW": "adamw", "Momentum": "momentum", "NadamW": "nadamw", "Nesterov": "momentum"}

__all__ = ["AdamW", "Momentum", "NadamW", "Nesterov"]


def __getattr__(name: str) -> Any:
    if name not in _FILE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_FILE[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
