"""The workloads: one folder a data set.

Classes are imported on first use, so that one workload's missing library does not break the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cifar10.workload import Cifar10
    from .digits.workload import Digits
    from .mnist.workload import Mnist

_FOLDER = {"Cifar10": "cifar10", "Digits": "digits", "Mnist": "mnist"}

__all__ = ["Cifar10", "Digits", "Mnist"]


def __getattr__(name: str) -> Any:
    if name not in _FOLDER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_FOLDER[name]}.workload", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
