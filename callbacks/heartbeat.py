"""The heartbeat of a trial: the submission time up to which a killed run is charged."""

from __future__ import annotations

import math
import os
from pathlib import Path

from algoperf_lightning.result import HEARTBEAT_FILE

_FORMAT = "{:>24.6f}\n"


class Heartbeat:
    """Overwrites the previous time with one of the same length, so that a kill leaves one or the other.

    Args:
        folder: The folder of the trial.

    Raises:
        OSError: If the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / HEARTBEAT_FILE, os.O_WRONLY | os.O_CREAT, 0o644)

    def write(self, seconds: float) -> None:
        """Write submission seconds."""
        # Rounded up: a resumed clock must not be before the last reading.
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, _FORMAT.format(math.ceil(seconds * 1e6) / 1e6).encode())

    def close(self) -> None:
        """Close the file; it must not be written to afterwards."""
        os.close(self._file)
