"""Images and labels in the pickled files of CIFAR, read without executing code from the files."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data.damage import DamagedError


def read_file(
    path: Path, count: int, sums: Mapping[str, str] | None, *, labels: str = "labels", classes: int = 10
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images uint8 ``(count, 3, 32, 32)`` and labels int64 ``(count,)`` of one file.

    Args:
        path: Path of the file.
        count: Expected number of images.
        sums: MD5 checksums of the official files by name, one of which must match; None for a file of a tiny data set.
        labels: Key of the labels in the file.
        classes: Number of classes.

    Raises:
        DamagedError: If the checksum does not match, or the content is unexpected.
    """
    # Does not use the data set classes of torchvision. They accept only the official files, so a tiny data set would
    # need a second reader. They also do not name the damaged file, and they unpickle arbitrary content.
    expected = f"{count:,} images, pickled as `data` uint8 ({count}, 3072) and `{labels}` in 0..{classes - 1}"
    if sums is not None and _md5(path) != sums[path.name]:
        size = path.stat().st_size
        raise DamagedError(path, f"{expected}, with MD5 sum {sums[path.name]}", f"it differs ({size:,} bytes)")
    try:
        with path.open("rb") as file:
            entry = ArrayUnpickler(file, encoding="latin1").load()
        images, targets = np.ascontiguousarray(entry["data"]), np.asarray(entry[labels])
    except Exception as error:  # a damaged pickle can raise anything
        raise DamagedError(path, expected, f"reading failed ({error!r})") from error
    if images.dtype != np.uint8 or images.shape != (count, 3 * 32 * 32):
        raise DamagedError(path, expected, f"its `data` are {images.dtype} {images.shape}")
    if targets.shape != (count,) or not np.isin(targets, np.arange(classes)).all():
        raise DamagedError(path, expected, f"its `{labels}` are {targets.shape}, or not all in 0..{classes - 1}")
    return images.reshape(-1, 3, 32, 32), targets.astype(np.int64)


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler for arrays and plain types only, because a pickle can execute arbitrary code."""

    # Taken from an array, because NumPy has renamed the module of this function.
    _known: ClassVar[dict[str, Any]] = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the three NumPy objects that pickled arrays refer to."""
        if module.partition(".")[0] == "numpy" and name in self._known:
            return self._known[name]
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not part of an array")
