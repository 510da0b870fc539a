"""Reading of fastmri: headers of HDF5 volumes, an index of them, and slices by number."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.files import is_left_by_system, write_atomic
from algoperf_lightning.utilities.progress import progress

KSPACE, TARGET, MAXIMUM = "kspace", "reconstruction_esc", "max"
"""Keys of the two data sets that are used, and of the attribute."""

_INDEX_FORMAT = 1


@dataclass(frozen=True)
class Volume:
    """The header of one file."""

    name: str
    size: int
    """Bytes of the file; with ``modified`` it identifies the version of the file."""
    modified: int
    """Nanoseconds since 1970."""
    kspace: tuple[int, int, int]
    """Slices, rows, columns."""
    target: tuple[int, int, int]
    """Slices, rows, columns."""
    maximum: float
    """Largest value of the target volume, the data range of SSIM."""
    kspace_offset: int | None
    """Offset of the k-space in the file; None unless it is contiguous, as in the official files."""
    target_offset: int | None

    @property
    def slices(self) -> int:
        """How many there are."""
        return self.kspace[0]


def volume_paths(folder: Path) -> list[Path]:
    """Return the volumes of a folder, sorted by name."""
    return sorted(filter(is_volume, folder.glob("*.h5")))


def is_volume(path: Path) -> bool:
    """Return whether a file is a volume by its name; hidden files (archives made on a Mac contain some) are not."""
    return path.suffix == ".h5" and not path.name.startswith(".") and not is_left_by_system(path.name)


def read_header(path: Path) -> Volume:
    """Read the header of a volume.

    Raises:
        DamagedError: If it cannot be read, or a data set or the attribute is missing or has a wrong type.
    """
    import h5py  # type: ignore[import-untyped]

    status = path.stat()
    try:
        with h5py.File(path, "r") as file:
            kspace, kspace_offset = _find(file, KSPACE, "complex64", status.st_size, path)
            target, target_offset = _find(file, TARGET, "float32", status.st_size, path)
            maximum = file.attrs.get(MAXIMUM)
    except (OSError, KeyError, RuntimeError) as error:  # the HDF5 library may raise anything for damaged files
        raise DamagedError(
            path, f"a complete HDF5 file with {KSPACE!r} and {TARGET!r}", f"reading failed ({error})"
        ) from error
    number = float(maximum) if isinstance(maximum, (int, float, np.integer, np.floating)) else math.nan
    if not (math.isfinite(number) and number > 0):
        raise DamagedError(path, f"an attribute {MAXIMUM!r}, a positive number", f"it is {maximum!r}")
    if kspace[0] != target[0]:
        raise DamagedError(
            path, f"as many slices in {KSPACE!r} as in {TARGET!r}", f"there are {kspace[0]} and {target[0]}"
        )
    if kspace[1] < target[1] or kspace[2] < target[2]:
        raise DamagedError(
            path, f"{KSPACE!r} at least as large as {TARGET!r}", f"their shapes are {kspace} and {target}"
        )
    return Volume(
        name=path.name,
        size=status.st_size,
        modified=status.st_mtime_ns,
        kspace=kspace,
        target=target,
        maximum=number,
        kspace_offset=kspace_offset,
        target_offset=target_offset,
    )


def _find(file: Any, key: str, dtype: str, size: int, path: Path) -> tuple[tuple[int, int, int], int | None]:
    """Return the shape of a data set, and its offset in the file if it is contiguous."""
    import h5py

    expected = f"{key!r}, {dtype} of shape (slices, rows, columns)"
    dataset = file.get(key)
    if not isinstance(dataset, h5py.Dataset):
        raise DamagedError(path, expected, f"it has only {', '.join(sorted(file)) or 'nothing'}")
    if dataset.dtype.newbyteorder("=") != dtype or dataset.ndim != 3 or 0 in dataset.shape:
        raise DamagedError(path, expected, f"it is {dataset.dtype} of shape {dataset.shape}")
    plain = dataset.dtype == dtype and dataset.chunks is None and not dataset.external and not dataset.is_virtual
    offset = dataset.id.get_offset() if plain else None
    if offset is not None and offset + dataset.nbytes > size:
        raise DamagedError(path, f"{key!r} in {offset + dataset.nbytes:,} bytes", f"it has {size:,} bytes")
    return tuple(dataset.shape), offset


def read_index(folder: Path, cache: Path) -> list[Volume]:
    """Return the headers of all volumes of a folder, sorted by name.

    They are stored in ``cache``; only files that are new, or whose size or time differs, are opened.

    Raises:
        DamagedError: If a volume is damaged.
    """
    known = {(volume.name, volume.size, volume.modified): volume for volume in _read_cache(cache)}
    volumes = []
    paths = volume_paths(folder)
    with progress(f"fastmri: reading headers in {folder.name}", len(paths)) as advance:
        for path in paths:
            status = path.stat()
            volume = known.get((path.name, status.st_size, status.st_mtime_ns))
            volumes.append(volume or read_header(path))
            advance()
    if set(volumes) != set(known.values()):
        with suppress(OSError):  # read-only data are indexed at every start
            content = {"format": _INDEX_FORMAT, "volumes": [asdict(volume) for volume in volumes]}
            write_atomic(cache, json.dumps(content))
    return volumes


def _read_cache(cache: Path) -> list[Volume]:
    try:
        content = json.loads(cache.read_text())
        if content["format"] != _INDEX_FORMAT:
            return []
        rows = content["volumes"]
        return [Volume(**{**row, "kspace": tuple(row["kspace"]), "target": tuple(row["target"])}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):  # it does not exist, or is not ours: create a new one
        return []


class SliceReader:
    """Slices of volumes by index, without opening HDF5 files if the data are contiguous.

    It keeps no file open, so it can be passed to other processes.

    Args:
        folder: The folder of the volumes.
        volumes: Their headers.
    """

    def __init__(self, folder: Path, volumes: Sequence[Volume]) -> None:
        self.folder = folder
        self.volumes = volumes
        self.ends = np.cumsum([volume.slices for volume in volumes], dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of slices."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def find(self, number: int) -> tuple[Volume, int]:
        """Return the volume of a slice, and the index of the slice in it."""
        which = int(np.searchsorted(self.ends, number, side="right"))
        volume = self.volumes[which]
        return volume, int(number - self.ends[which] + volume.slices)

    def read(self, volume: Volume, number: int) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Return one slice: k-space, complex64 ``(H, W)``, and target, float32 ``(rows, columns)``.

        Raises:
            DamagedError: If it cannot be read.
        """
        path = self.folder / volume.name
        try:
            kspace = _read_part(path, KSPACE, np.complex64, volume.kspace, volume.kspace_offset, number)
            target = _read_part(path, TARGET, np.float32, volume.target, volume.target_offset, number)
        except (OSError, KeyError, RuntimeError, EOFError) as error:
            expected = f"slice {number} of {volume.slices}, as when it was indexed"
            raise DamagedError(path, expected, f"reading failed ({error})") from error
        return kspace, target


def _read_part(
    path: Path, key: str, dtype: type[Any], shape: tuple[int, int, int], offset: int | None, number: int
) -> NDArray[Any]:
    if offset is None:  # compressed, or in chunks
        import h5py

        with h5py.File(path, "r") as file:
            return np.asarray(file[key][number], dtype=dtype)
    values = math.prod(shape[1:])
    part: NDArray[Any] = np.fromfile(path, dtype, values, offset=offset + number * values * np.dtype(dtype).itemsize)
    if part.size < values:
        raise EOFError(f"{key!r} ends {values - part.size:,} values early")
    return part.reshape(shape[1:])
