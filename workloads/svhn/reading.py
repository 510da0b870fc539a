"""Reading of svhn: images and labels from MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError, checksum


def read_file(path: Path, count: int, md5: str | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images uint8 ``(count, 3, 32, 32)`` and labels int64 ``(count,)`` of one file.

    Args:
        path: The file.
        count: Required number of images.
        md5: Required MD5 sum, that of the official file; None for a file of a tiny data set.

    Raises:
        DamagedError: If the checksum or the content is wrong.
    """
    from scipy.io import loadmat  # type: ignore[import-untyped]

    expected = f"{count:,} images, `X` uint8 (32, 32, 3, {count}) and `y` in 1..10"
    if md5 is not None and checksum(path, "md5") != md5:
        found = f"it differs ({path.stat().st_size:,} bytes)"
        raise DamagedError(path, f"{expected}, with MD5 sum {md5}", found)
    try:
        entry = loadmat(path, variable_names=("X", "y"))
        images, labels = entry["X"], entry["y"].reshape(-1)
    except Exception as error:  # a damaged file may raise anything
        raise DamagedError(path, expected, f"reading failed ({error!r})") from error
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, count):
        raise DamagedError(path, expected, f"its `X` is {images.dtype} {images.shape}")
    if labels.shape != (count,) or not np.isin(labels, np.arange(1, 11)).all():
        raise DamagedError(path, expected, f"its `y` is {labels.shape}, or not all in 1..10")
    # In the file, the digit 0 has the label 10.
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels.astype(np.int64) % 10
