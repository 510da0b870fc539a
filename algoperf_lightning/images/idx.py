"""Images of 28 x 28 pixels and labels in IDX files, the format of MNIST and its successors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from algoperf_lightning.data.damage import DamagedError


def read_part(folder: Path, part: str, count: int | None) -> tuple[Tensor, Tensor]:
    """Return images uint8 ``(N, 28, 28)`` and labels int64 ``(N,)`` of one part of the data set.

    Args:
        folder: Folder of the files.
        part: ``train`` or ``t10k``, the prefix of the file names.
        count: N; None uses the number in the files.

    Raises:
        DamagedError: If a file has an unexpected size or content.
    """
    # Uses only the readers of torchvision.datasets.MNIST, because the class prefers a "processed" folder of its old
    # versions over the files that are checked here.
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images, labels = folder / f"{part}-images-idx3-ubyte", folder / f"{part}-labels-idx1-ubyte"
    count = _check(images, count, "images of 28 x 28 pixels", 28, 28)
    _check(labels, count, "labels")
    targets: Tensor = read_label_file(str(labels))
    if targets.max() > 9:
        raise DamagedError(labels, "labels in 0..9", f"it has a label {int(targets.max())}")
    return read_image_file(str(images)), targets


def to_idx(values: NDArray[np.uint8]) -> bytes:
    """Encode an array as the content of an IDX file."""
    return np.array([0x0800 | values.ndim, *values.shape], dtype=">i4").tobytes() + values.tobytes()


def _check(path: Path, count: int | None, what: str, *shape: int) -> int:
    """Check the header and size of an IDX file, and return its number of items."""
    header = np.fromfile(path, dtype=">i4", count=2 + len(shape)).tolist()
    if count is None:
        count = max([1, *header[1:2]])
    magic = 0x0800 | (1 + len(shape))  # unsigned bytes, number of axes
    header_bytes = 4 * (2 + len(shape))
    expected, size = header_bytes + count * math.prod(shape), path.stat().st_size
    if size != expected or header != [magic, count, *shape]:
        raise DamagedError(
            path,
            f"{count:,} {what} in {expected:,} bytes (IDX header {[magic, count, *shape]})",
            f"it has {size:,} bytes (header {header})",
        )
    return count
