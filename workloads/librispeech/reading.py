"""Reading of librispeech: the samples of one recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError

from .frontend import SAMPLE_RATE

if TYPE_CHECKING:
    import soundfile  # type: ignore[import-untyped]


def read_length(path: Path) -> int:
    """Return the number of samples in the header of a recording.

    Raises:
        DamagedError: If it is not a FLAC file with 16 bits, 16 kHz and one channel.
    """
    with open_recording(path) as file:
        return int(file.frames)


def read_samples(path: Path, out: NDArray[np.int16]) -> None:
    """Decode a recording into ``out``, int16 ``(samples,)``.

    Raises:
        DamagedError: If it is damaged, or has another number of samples.
    """
    import soundfile

    expected = f"{len(out):,} samples"
    with open_recording(path) as file:
        if file.frames != len(out):
            raise DamagedError(path, expected, f"its header has {file.frames:,}")
        try:
            count = len(file.read(out=out))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise DamagedError(path, expected, f"decoding failed ({error})") from error
    if count != len(out):
        raise DamagedError(path, expected, f"decoding ends after {count:,}")


def open_recording(path: Path) -> soundfile.SoundFile:
    """Open a recording.

    Raises:
        DamagedError: If it is not a FLAC file with 16 bits, 16 kHz and one channel.
    """
    import soundfile

    expected = f"FLAC of 16 bits, {SAMPLE_RATE} Hz, one channel"
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DamagedError(path, expected, f"opening failed ({error})") from error
    found = (file.format, file.subtype, file.samplerate, file.channels)
    if found != ("FLAC", "PCM_16", SAMPLE_RATE, 1) or not file.frames:
        file.close()
        raise DamagedError(path, expected, f"it is {found}, {file.frames} samples")
    return file
