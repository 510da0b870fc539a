"""An index of class folders, to avoid listing a million files at every start."""

from __future__ import annotations

import io
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import ARCHIVE_ERRORS
from algoperf_lightning.files import is_left_by_system, write_atomic
from algoperf_lightning.utilities.progress import progress

_SUFFIXES = (".jpeg", ".jpg", ".png")

# A folder that was changed so shortly before it was listed may have changed again with the same time stamp.
_DOUBT = 3_000_000_000


@dataclass(frozen=True)
class Index:
    """The images of one folder of class folders.

    Names are bytes in one array, because a million strings would be copied into every worker process.
    """

    folder: Path
    classes: tuple[str, ...]
    """Names of the class folders, in the order of their labels."""
    counts: NDArray[np.int64]
    """Images in each class folder, shape ``(classes,)``."""
    names: NDArray[np.bytes_]
    """Names of the images, class by class and sorted within each, shape ``(N,)``."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The label of each image, shape ``(N,)``."""
        return np.repeat(np.arange(len(self.classes)), self.counts)

    def path(self, row: int, label: int) -> str:
        """Return the path of an image, given its label too."""
        return os.path.join(self.folder, self.classes[label], os.fsdecode(self.names[row]))  # noqa: PTH118 # faster


def index_images(folder: Path, cache: Path) -> Index:
    """List the images of a folder of class folders; only class folders changed since ``cache`` are listed again.

    Classes are sorted by name, or numerically if all names are numbers.

    Args:
        folder: Contains one folder of images per class.
        cache: File that stores the listing; if it cannot be written, nothing is stored.
    """
    with os.scandir(folder) as entries:
        classes = [entry.name for entry in entries if not is_hidden(entry.name) and entry.is_dir()]
    classes.sort(key=(lambda name: int(name)) if all(name.isdecimal() for name in classes) else None)
    known = _read_cache(cache)
    now = time.time_ns()
    times, listed, stale = [], [], False
    with progress(f"{folder.name}: listing images", len(classes)) as advance:
        for name in classes:
            changed = (folder / name).stat().st_mtime_ns
            at, names = known.get(name, (-1, None))
            if names is None or at != changed:
                stale = True
                names = _list_images(folder / name)
            times.append(changed if changed < now - _DOUBT else -1)
            listed.append(names)
            advance()
    counts = np.array([len(names) for names in listed], dtype=np.int64)
    names = np.concatenate(listed) if listed else np.array([], dtype="S1")
    if stale or len(known) != len(classes):
        content = io.BytesIO()
        np.savez(content, classes=np.array(classes), times=np.array(times), counts=counts, names=names)
        with suppress(OSError):  # data are often mounted read-only
            cache.parent.mkdir(exist_ok=True)
            write_atomic(cache, content.getvalue())
    return Index(folder, tuple(classes), counts, names)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is not part of the data set: hidden, or left by a system."""
    return name.startswith(".") or is_left_by_system(name)


def _list_images(folder: Path) -> NDArray[np.bytes_]:
    names = sorted(
        os.fsencode(name)
        for name in os.listdir(folder)  # noqa: PTH208 # a name is all that is wanted
        if name.lower().endswith(_SUFFIXES) and not is_hidden(name)
    )
    return np.array(names) if names else np.array([], dtype="S1")


def _read_cache(path: Path) -> dict[str, tuple[int, NDArray[np.bytes_]]]:
    """Return time of last change and names of images, by class; empty without a readable cache."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            pieces = np.split(saved["names"], np.cumsum(saved["counts"])[:-1])
            rows = zip(saved["classes"].tolist(), saved["times"].tolist(), pieces, strict=True)
            return {name: (at, names) for name, at, names in rows}
    except (OSError, ValueError, KeyError, *ARCHIVE_ERRORS):
        return {}
