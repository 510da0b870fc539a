"""Images of 28 x 28 pixels and their labels in files of the IDX format, as MNIST and its successors have them."""

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
        folder: Where the files lie.
        part: ``train`` or ``t10k``, as the names of the files begin.
        count: N; None for as many as the files say.

    Raises:
        DamagedError: If a file has another size than it should, or holds something else.
    """
    # Not the class torchvision.datasets.MNIST, only its readers: the class prefers a "processed" folder that old
    # versions of it left, over the files that are checked here.
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images, labels = folder / f"{part}-images-idx3-ubyte", folder / f"{part}-labels-idx1-ubyte"
    count = _check(images, count, "images of 28 x 28 pixels", 28, 28)
    _check(labels, count, "labels")
    targets: Tensor = read_label_file(str(labels))
    if targets.max() > 9:
        raise DamagedError(labels, "labels in 0..9", f"it has a label {int(targets.max())}")
    return read_image_file(str(images)), targets


def to_idx(values: NDArray[np.uint8]) -> bytes:
    """Return the content of a file that holds an array."""
    return np.array([0x0800 | values.ndim, *values.shape], dtype=">i4").tobytes() + values.tobytes()


def _check(path: Path, count: int | None, what: str, *shape: int) -> int:
    """Check the header and size of an IDX file, and return how many items it holds."""
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
